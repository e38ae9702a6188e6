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
    ("nodes", "words"),
    [
        # Broadcasts: over channels, over planes, from either side.
        ([CONV, node("Conv", "x one", "d", pads=[1] * 4), node("Add", "c d", "y"), MEAN],
         "Add 'the_y': The kernels add values of one size only, not 8x12x12 and 1x12x12"),
        ([CONV, node("Conv", "x one", "d", pads=[1] * 4), node("Add", "d c", "y"), MEAN],
         "Add 'the_y': .* not 1x12x12 and 8x12x12"),
        ([CONV, node("MaxPool", "c", "d", kernel_shape=[12, 12]), node("Add", "c d", "y"), MEAN],
         "Add 'the_y': .* not 8x12x12 and 8x1x1"),
        ([CONV, node("Add", "c two", "y"), MEAN], "Add 'the_y': its input 'two' is not computed"),
        ([node("Conv", "x w8", "y"), MEAN], "Conv 'the_y': A convolution of 8 .* cannot read 3"),
        ([node("Pad", "x pads", "p"), node("Conv", "p w3", "c"), node("Conv", "x eight", "e"),
          node("MaxPool", "p", "d", kernel_shape=[3, 3]), node("Add", "c d", "y"), MEAN],
         "MaxPool 'the_d': only convolutions can read the padded 'p'"),
        (pool(auto_pad="SAME_UPPER"), "MaxPool 'the_y': auto_pad SAME_UPPER"),
        (pool(auto_pad="SAME_LOWER"), "MaxPool 'the_y': auto_pad SAME_LOWER"),
        (pool(ceil_mode=1), "MaxPool 'the_y': ceil_mode 1"),
        (pool(dilations=[2, 2]), r"MaxPool 'the_y': dilations \[2, 2\]"),
        (pool(pads=[0, 0, 1, 1]), "MaxPool 'the_y': only square windows, padded alike"),
        ([CONV, helper.make_node("MaxPool", ["c"], ["y", "i"], kernel_shape=[2, 2],
                                 storage_order=1), MEAN], "MaxPool 'y': the places"),
        ([CONV, node("AveragePool", "c", "y", kernel_shape=[2, 2], count_include_pad=1), MEAN],
         "AveragePool 'the_y': the kernels do not know"),
        ([CONV, node("Clip", "c - six", "y"), MEAN], r"Clip 'the_y': a clip to -inf\.\.6"),
        ([CONV, node("Clip", "c two six", "y"), MEAN], r"Clip 'the_y': a clip to 2\.\.6"),
        ([helper.make_node("Constant", [], ["s"], "text", value_string=b"a"),
          node("Conv", "x s", "y"), MEAN], "Constant 'text': .* value_string"),
        ([node("QuantizeLinear", "w3 two", "q"), node("DequantizeLinear", "q two", "w"),
          node("Conv", "x w", "y"), MEAN], "Conv 'the_y': its input 'w' must .* DequantizeLinear"),
        ([CONV, node("Relu", "c", "out")], "the output 'out' is not a mean"),
        ([*FLAT, node("Relu", "flat", "out")], "Relu 'the_out': it stands behind the mean"),
        ([*FEATURES, node("Flatten", "m", "out", axis=0)], "Flatten 'the_out': only axis 1"),
        ([*FEATURES, node("Reshape", "m column", "out")], "Reshape 'the_out': .* not one row of 8"),
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
