"""ONNX graphs that networks of the zoo do not have: computed as ONNX Runtime does, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sparsebench.exporters.engines.base import CompileRequest, EngineError
from sparsebench.exporters.engines.native import NativeEngine, NativeSession
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.onnx.artifact import Artifact

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
SHAPE = (3, 12, 12)
# Names of weights that a graph may use: [O, I, kh, kw], or [rows, columns] of a linear layer.
WEIGHTS = {
    "w3": (8, 3, 3, 3), "w8": (8, 8, 3, 3), "one": (1, 3, 3, 3), "eight": (8, 3, 1, 1),
    "linear": (5, 8),
}  # fmt: skip
NUMBERS = {
    "zero": 0.0, "six": 6.0, "two": 2.0, "inf": np.inf, "pads": [0, 0, 1, 1, 0, 0, 1, 1],
    "axes": [2, 3], "row": [0, -1], "column": [-1, 1],
}  # fmt: skip


def node(kind: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """``inputs``: separated by spaces, ``-`` for one that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, names, [output], f"the_{output}", **attributes)


def write(path: Path, nodes: list[NodeProto], output: str = "out", opset: int = 13) -> str:
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in WEIGHTS.items()
    ]
    for name, value in NUMBERS.items():
        kind = np.int64 if isinstance(value, list) else np.float32
        constants.append(numpy_helper.from_array(np.array(value, kind), name))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return str(path)


def compiled(path: str, batch: int) -> NativeSession:
    artifact = Artifact(str(Path(path).parent), path, SHAPE, 8, "features")
    return NativeEngine().compile(artifact, CompileRequest(batch, 1))


def compare(path: str) -> None:
    """Both layouts, against ONNX Runtime."""
    reference = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (2, 16):
        rng = np.random.default_rng(batch)
        images = rng.standard_normal((batch, *SHAPE)).astype(np.float32)
        expected = reference.run(None, {"x": images})[0].reshape(batch, -1)
        found = compiled(path, batch).run(images)
        assert found.shape == expected.shape
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * scale)


CONV = node("Conv", "x w3", "c", pads=[1, 1, 1, 1])
MEAN = node("GlobalAveragePool", "y", "out")
FEATURES = [CONV, node("Relu", "c", "y"), node("GlobalAveragePool", "y", "m")]
FLAT = [*FEATURES, node("Flatten", "m", "flat")]


@pytest.mark.parametrize(
    ("nodes", "output"),
    [
        # One Pad in front of two convolutions.
        (
            [
                node("Pad", "x pads", "p"),
                node("Conv", "p w3", "c"),
                node("Conv", "p w3", "d", strides=[1, 1]),
                node("Add", "c d", "y"),
                MEAN,
            ],
            "out",
        ),
        # The features are asked for; a classifier behind them is not.
        ([*FLAT, node("Gemm", "flat linear", "logits", transB=1)], "flat"),
        ([*FLAT, node("Gemm", "flat linear", "out", transB=1)], "out"),
        (
            [
                *FLAT,
                node("Gemm", "flat linear", "logits", transB=1),
                node("Softmax", "logits", "unused"),
                node("Identity", "logits", "out"),
            ],
            "out",
        ),
        ([*FEATURES, node("Reshape", "m row", "out")], "out"),
        ([CONV, node("Clip", "c zero six", "y"), MEAN], "out"),
        ([CONV, node("Clip", "c zero", "y"), MEAN], "out"),
        ([CONV, node("Clip", "c zero inf", "y"), MEAN], "out"),
        ([CONV, node("Clip", "c", "y"), MEAN], "out"),
        (
            [
                helper.make_node("Constant", [], ["low"], value_float=0.0),
                CONV,
                node("Clip", "c low six", "y"),
                MEAN,
            ],
            "out",
        ),
        ([CONV, node("MaxPool", "c", "y", kernel_shape=[2, 2], auto_pad="VALID"), MEAN], "out"),
    ],
)  # fmt: skip
def test_what_is_taken_is_computed_as_onnx_runtime_does(
    nodes: list[NodeProto], output: str, tmp_path: Path
) -> None:
    compare(write(tmp_path / "model.onnx", nodes, output))


def pool(**attributes: Any) -> list[NodeProto]:
    return [
        CONV,
        node("MaxPool", "c", "y", kernel_shape=[3, 3], strides=[2, 2], **attributes),
        MEAN,
    ]


@pytest.mark.parametrize(
    "nodes",
    [
        # Broadcasts: over channels, over planes, from either side, of one number.
        [CONV, node("Conv", "x one", "d", pads=[1] * 4), node("Add", "c d", "y"), MEAN],
        [CONV, node("Conv", "x one", "d", pads=[1] * 4), node("Add", "d c", "y"), MEAN],
        [CONV, node("MaxPool", "c", "d", kernel_shape=[12, 12]), node("Add", "c d", "y"), MEAN],
        [CONV, node("Add", "c two", "y"), MEAN],
        pool(auto_pad="SAME_UPPER"),
        pool(auto_pad="SAME_LOWER"),
        pool(ceil_mode=1),
        pool(dilations=[2, 2]),
        pool(pads=[0, 0, 1, 1]),
        [CONV, node("AveragePool", "c", "y", kernel_shape=[2, 2], count_include_pad=1), MEAN],
        [CONV, node("Clip", "c - six", "y"), MEAN],
        [CONV, node("Clip", "c two six", "y"), MEAN],
        [CONV, node("Relu", "c", "out")],
        [*FLAT, node("Relu", "flat", "out")],
        [*FEATURES, node("Flatten", "m", "out", axis=0)],
        [*FEATURES, node("Reshape", "m column", "out")],
    ],
)  # fmt: skip
def test_what_whole_planes_cannot_do_is_computed_an_image_a_lane(
    nodes: list[NodeProto], tmp_path: Path
) -> None:
    compare(write(tmp_path / "model.onnx", nodes))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Conv", "x w8", "y"), MEAN], "Conv 'the_y': a convolution of 8 cannot read 3"),
        ([node("Pad", "x pads", "p"), node("Conv", "p w3", "c"), node("Conv", "x eight", "e"),
          node("MaxPool", "p", "d", kernel_shape=[3, 3]), node("Add", "c d", "y"), MEAN],
         "Add 'the_y': its shapes are not those of one image"),
        ([CONV, helper.make_node("MaxPool", ["c"], ["y", "i"], kernel_shape=[2, 2],
                                 storage_order=1), MEAN], "MaxPool 'y': .* without the places"),
        ([helper.make_node("Constant", [], ["s"], "text", value_string=b"a"),
          node("Conv", "x s", "y"), MEAN], "Conv 'the_y': .*could not convert string"),
        ([node("QuantizeLinear", "w3 two", "q"), node("DequantizeLinear", "q two", "w"),
          node("Conv", "x w", "y"), MEAN], "DequantizeLinear 'the_w': it cannot be computed"),
        ([*FLAT, node("Gemm", "flat linear", "out")], r"Gemm 'the_out': a weight of \[8, 5\]"),
    ],
)  # fmt: skip
def test_what_is_not_computed_is_refused_by_name(
    nodes: list[NodeProto], words: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=words):
        compiled(write(tmp_path / "model.onnx", nodes), 2)


def test_bounds_of_a_clip_were_attributes_once(tmp_path: Path) -> None:
    nodes = [CONV, node("Clip", "c", "y", min=0.0), MEAN]
    compare(write(tmp_path / "model.onnx", nodes, opset=6))
