"""Size on disk: the file with its zeros, without them, and compressed."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.sizes import model_bytes
from sparsebench.models.costs import LayerCost

WEIGHTS = 100_000


def made(folder: Path, sparsity: float) -> dict[str, int]:
    """A file of random weights, some zero, behind a kilobyte of other things."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=WEIGHTS).astype(np.float32)
    values[rng.permutation(WEIGHTS)[: int(sparsity * WEIGHTS)]] = 0
    (folder / "model.onnx").write_bytes(bytes(1000) + values.tobytes())
    artifact = Artifact(str(folder), str(folder / "model.onnx"), (3, 8, 8), 2, "features")
    nonzeros = int(np.count_nonzero(values))
    cost = LayerCost("fc", "linear", WEIGHTS, nonzeros, WEIGHTS, nonzeros)
    return model_bytes(artifact, [cost])


def test_zeros_cost_a_bit_each_where_they_are_left_out(tmp_path: Path) -> None:
    found = made(tmp_path, 0.9)
    assert found["dense"] == 1000 + 4 * WEIGHTS
    assert abs(found["sparse"] - (1000 + 4 * WEIGHTS // 10 + WEIGHTS // 8)) <= 1
    raw = (tmp_path / "model.onnx").read_bytes()
    assert found["compressed"] == len(zlib.compress(raw, 1))


def test_a_dense_network_gains_nothing(tmp_path: Path) -> None:
    found = made(tmp_path, 0.0)
    assert found["sparse"] == found["dense"]
    assert found["compressed"] > 0.85 * found["dense"]


def test_it_is_compressed_once(tmp_path: Path) -> None:
    first = made(tmp_path, 0.9)
    (tmp_path / "model.onnx").write_bytes(b"x" * first["dense"])
    artifact = Artifact(str(tmp_path), str(tmp_path / "model.onnx"), (3, 8, 8), 2, "features")
    assert model_bytes(artifact, [])["compressed"] == first["compressed"]
