"""Detectors in INT8 on the native engine: ONNX Runtime's numbers on the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.generated.memory import no_bytes
from sparsebench.exporters.kernels.inference.byte_reader import read_bytes
from sparsebench.exporters.kernels.inference.onnx_nodes import UnsupportedOnnxError
from sparsebench.exporters.kernels.inference.split import SplitNetwork
from sparsebench.exporters.onnx.detector import export_detector
from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
from sparsebench.models.zoo.load import load_backbone
from tests.exporters.kernels.inference.test_byte_network import (
    Maker,
    by_onnx_runtime,
    in_int8,
)

pytestmark = pytest.mark.skipif(
    find_compiler() is None or no_bytes() != "", reason="no compiler or AVX512_VNNI"
)


@pytest.mark.parametrize(
    ("output", "size", "batch", "threads"),
    [
        ("detector", 96, 16, 1),
        ("detector", 96, 1, 2),
        ("detector", 160, 3, 1),
        ("maps", 96, 17, 1),
        ("maps", 160, 1, 1),
    ],
)
def test_a_detector_in_int8_is_onnx_runtimes(
    output: str, size: int, batch: int, threads: int
) -> None:
    backbone = load_backbone("resnet18/gmp_uniform_block4-90")
    artifact = export_detector(backbone, size=size, output=output, classes=4)
    images = np.random.default_rng(0).random((batch, 3, size, size), np.float32)
    artifact = quantised_artifact(artifact, "integer", f"{size}", lambda: images[:4])
    expected = by_onnx_runtime(artifact.onnx, images)
    session = NativeEngine().compile(artifact, CompileRequest(batch, threads, "int8"))
    for _ in range(2):  # nothing of the first call may be left over
        found = session.run(images)
        assert found.shape == expected.shape
        # A byte is rounded the other way here and there, and later layers add some of these.
        assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()
        assert np.median(np.abs(found - expected)) <= 0.001 * np.abs(expected).max()
    assert set(session.describe()["layers"].values()) == {"generated"}


def test_rows_hold_what_the_graph_says_and_other_joins_are_refused(tmp_path: Path) -> None:
    """Values as floats and as bytes, channels that are no fours, one of them enlarged."""
    make = Maker(np.random.default_rng(1), 1.0)
    small = make.conv("images", 3, 6, 3, 2)
    factors = make.array(np.array([1, 1, 2, 2], np.float32))
    again = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    large = make.node("Resize", small, "", factors, nearest_mode="floor", **again)
    large = make.node("Relu", make.node("Add", make.conv("images", 3, 6, 1), large))
    values = [make.conv(large, 6, 5, 3), small, large]
    rows = [make.node("Flatten", value) for value in values]
    row = make.node("Concat", *rows, axis=1)
    kinds: Any = (("images", ["n", 3, 12, 20]), (row, ["n", 240 * 5 + 60 * 6 + 240 * 6]))
    inp, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in kinds)
    graph = helper.make_graph(make.nodes, "g", [inp], [out], make.stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    images = np.random.default_rng(0).standard_normal((19, 3, 12, 20)).astype(np.float32)
    made = in_int8(model, images)
    onnx.save(made, tmp_path / "m.onnx")
    network = read_bytes(str(tmp_path / "m.onnx"), (3, 12, 20))
    assert network.channels == 240 * 5 + 60 * 6 + 240 * 6

    expected = by_onnx_runtime(made.SerializeToString(), images)
    for batch in (1, 19):
        compiled = SplitNetwork(network, batch, (3, 12, 20), library("float32", "avx512"), 1)
        found = compiled.run(images[:batch])
        assert np.abs(found - expected[:batch]).max() <= 0.02 * np.abs(expected).max()

    joined = next(node for node in made.graph.node if node.op_type == "Concat")
    joined.attribute[0].i = 0
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedOnnxError, match="only rows that the network returns"):
        read_bytes(str(tmp_path / "m.onnx"), (3, 12, 20))
