"""A run says what its networks get right with their own classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from sparsebench.bench.heads.own_head import knows_classes
from sparsebench.bench.tasks import open_task
from tests.bench.conftest import Result
from tests.bench.run.small import Cli, lines
from tests.faults.images import write_images
from tests.models.onnx_graphs import BODY, model_of, saved


def network(path: Path, bias: float, filters: int) -> Path:
    """Dark (class 0) or light (class 1) by the mean of the pixels; a large bias: always dark."""
    w0 = np.zeros((12, 3, 3, 3), np.float32)
    w0[:filters] = 1 / 27
    w1 = np.zeros((12, 2), np.float32)
    w1[0] = -1, 1
    stored: dict[str, NDArray[Any]] = {"w0": w0, "b0": np.zeros(12), "w1": w1}
    stored["b1"] = np.array([bias, 0.0])
    gemm = helper.make_node("Gemm", ["features", "w1", "b1"], ["logits"], "classifier")
    floats = {name: value.astype(np.float32) for name, value in stored.items()}
    return saved(model_of([*BODY, gemm], stored=floats), path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A dense network that is right, a sparse one that is right on half, and the images."""
    root = tmp_path_factory.mktemp("own")
    dense = network(root / "dense.onnx", 0.3, 12)
    return network(root / "sparse.onnx", 9.0, 1), dense, write_images(root / "pictures")


def measured(cli: Cli, out: Path, files: tuple[Path, Path, Path], *more: str) -> Result:
    sparse, dense, images = files
    plan = out.parent / "small.toml"
    plan.write_text("min_seconds = 0.01\nrepeats = 1\ndiscards = 0\n")
    return cli(
        *("run", plan, "--backbone", sparse, "--dense", f"{sparse}={dense}", "--size", 16),
        *("--engine", "onnxruntime", "--workload", "inference", "--threads", 1, "--batch-size", 4),
        *("--task", images, "--out", out, *more),
    )


def test_right_by_itself_stands_beside_the_trained_head(
    tmp_path: Path, files: tuple[Path, Path, Path], cli: Cli
) -> None:
    done = measured(cli, tmp_path / "R", files, "--own-head")
    assert done.code == 0, done.err
    own = {Path(r["backbone"]["name"]).stem: r["extra"]["own_head"]
           for r in lines(tmp_path / "R/records.jsonl")}  # fmt: skip
    assert own["dense"]["top-1"]["value"] == 1 and own["dense"]["top-1"]["images"] == 8
    assert own["sparse"]["top-1"]["value"] == 0.5
    assert own["sparse"]["change"]["top-1"]["value"] == -0.5
    assert own["sparse"]["against"] == str(files[1])
    # Newcombe (1998): Wilson's interval of 4 of 8.
    assert own["sparse"]["top-1"]["ci95"] == pytest.approx([0.2152, 0.7848], abs=1e-4)
    for said in (" ".join(done.out.split()), (tmp_path / "R/summary.md").read_text()):
        assert "with its own classifier: 50.0% right (21.5% to 78.5%, 8 images)" in said
        assert "−50.0 pp" in said


def test_nothing_is_said_where_nothing_tells_the_classes(
    tmp_path: Path, files: tuple[Path, Path, Path], cli: Cli
) -> None:
    assert not knows_classes(str(files[0]), open_task(str(files[2])))
    done = measured(cli, tmp_path / "R", files)
    assert done.code == 0, done.err
    assert all("own_head" not in r["extra"] for r in lines(tmp_path / "R/records.jsonl"))
    assert "own classifier" not in done.out


def test_another_number_of_outputs_is_said_and_loses_nothing(
    tmp_path: Path, files: tuple[Path, Path, Path], cli: Cli
) -> None:
    (three := tmp_path / "pictures").mkdir()
    write_images(three / "two")
    for split in ("train", "test"):
        (three / "two" / split / "dark").rename(three / "two" / split / "a")
        source = three / "two" / split / "light"
        (other := three / "two" / split / "b").mkdir()
        for path in source.iterdir():
            (other / path.name).write_bytes(path.read_bytes())
    done = measured(cli, tmp_path / "R", (*files[:2], three / "two"), "--own-head")
    assert done.code == 0, done.err
    reason = lines(tmp_path / "R/records.jsonl")[0]["extra"]["own_head"]["reason"]
    assert "tells 2 classes apart" in reason and "the 3 of" in reason
