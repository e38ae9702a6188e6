"""What torch's newer exporter writes, in operators that DeepSparse has kernels for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.old_forms import in_old_forms
from sparsebench.exporters.worker.launch import start_worker
from tests.exporters.engines.test_engines import skip_if_it_cannot_be_here

node = helper.make_node
IMAGES = np.random.default_rng(0).standard_normal((3, 3, 8, 8), dtype=np.float32)
CONVOLVED = node("Conv", ["images", "w"], ["planes"], pads=[1, 1, 1, 1])
TOKENS = [CONVOLVED, node("Transpose", ["planes"], ["last"], perm=[0, 2, 3, 1])]


def graph(nodes: list[onnx.NodeProto], opset: int = 18, **constants: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((16, 3, 3, 3), dtype=np.float32)
    weight[rng.random(weight.shape) < 0.9] = 0
    stored = {
        "w": weight,
        "axes": np.array([2, 3]),
        "from_behind": np.array([-1, -2]),
        "flat": np.array([-1, 16]),
        "scale": rng.standard_normal(16, dtype=np.float32),
        "shift": rng.standard_normal(16, dtype=np.float32),
        **constants,
    }
    used = {name for one in nodes for name in one.input}
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "g",
        [info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, name) for name, a in stored.items() if name in used],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def computed(model: onnx.ModelProto) -> Any:
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": IMAGES})[0]


POOLED = {
    "as torch writes it": [
        CONVOLVED,
        node("ReduceMean", ["planes", "axes"], ["mean"], keepdims=1, noop_with_empty_axes=0),
        node("Reshape", ["mean", "flat"], ["out"], allowzero=1),
    ],
    "from behind, without its axes": [
        CONVOLVED,
        node("ReduceMean", ["planes", "from_behind"], ["out"], keepdims=0),
    ],
}


@pytest.mark.parametrize("nodes", POOLED.values(), ids=POOLED)
def test_a_mean_over_height_and_width_is_pooling(nodes: list[onnx.NodeProto]) -> None:
    model = graph(nodes)
    before = model.SerializeToString()
    made = in_old_forms(model)
    assert [one.op_type for one in made.graph.node] == ["Conv", "GlobalAveragePool", "Flatten"]
    assert [o.version for o in made.opset_import] == [17]
    np.testing.assert_allclose(computed(made), computed(model), atol=1e-5)
    assert model.SerializeToString() == before


def test_an_older_file_has_its_axes_as_an_attribute() -> None:
    model = graph([CONVOLVED, node("ReduceMean", ["planes"], ["out"], axes=[2, 3])], opset=13)
    made = in_old_forms(model)
    assert [one.op_type for one in made.graph.node] == ["Conv", "GlobalAveragePool"]
    np.testing.assert_allclose(computed(made), computed(model), atol=1e-5)


@pytest.mark.parametrize("inputs", [["last", "scale", "shift"], ["last", "scale"]])
@pytest.mark.parametrize("opset", [17, 18])
def test_layer_norm_is_written_step_by_step(inputs: list[str], opset: int) -> None:
    norm = node("LayerNormalization", inputs, ["out"], axis=-1, epsilon=1e-3)
    model = graph([*TOKENS, norm], opset=opset)
    made = in_old_forms(model)
    assert "LayerNormalization" not in {one.op_type for one in made.graph.node}
    np.testing.assert_allclose(computed(made), computed(model), atol=1e-5)


LEFT = {
    "a mean over channels": [CONVOLVED, node("ReduceMean", ["planes", "one"], ["out"])],
    "a mean of all": [CONVOLVED, node("ReduceMean", ["planes"], ["out"])],
    "layer norm over more than the last axis": [
        *TOKENS,
        node("LayerNormalization", ["last", "wide"], ["out"], axis=2),
    ],
    "layer norm with statistics beside it": [
        *TOKENS,
        node("LayerNormalization", ["last", "scale"], ["normal", "mean"], axis=-1),
        node("Add", ["normal", "mean"], ["out"]),
    ],
    "what opset 17 cannot say": [
        *TOKENS,
        node("BitwiseNot", ["whole"], ["turned"]),
        node("Cast", ["turned"], ["number"], to=1),
        node("Add", ["last", "number"], ["sum"]),
        node("LayerNormalization", ["sum", "scale"], ["out"], axis=-1),
    ],
}


@pytest.mark.parametrize("nodes", LEFT.values(), ids=LEFT)
def test_whatever_else_is_left_as_it_is(nodes: list[onnx.NodeProto]) -> None:
    wide = np.ones((8, 16), np.float32)
    model = graph(nodes, one=np.array([1]), wide=wide, whole=np.array([3], np.int32))
    made = in_old_forms(model)
    assert [one.op_type for one in made.graph.node] == [one.op_type for one in model.graph.node]
    np.testing.assert_array_equal(computed(made), computed(model))


def test_a_graph_without_newer_forms_is_itself() -> None:
    model = graph([CONVOLVED, node("GlobalAveragePool", ["planes"], ["out"])])
    assert in_old_forms(model) is model


def test_deepsparse_executes_a_network_of_the_newer_exporter(tmp_path: Path) -> None:
    """It used to run nothing of it itself, and to be five times slower, without a word."""
    skip_if_it_cannot_be_here("deepsparse")
    nodes = [*POOLED["as torch writes it"][:1], node("Relu", ["planes"], ["active"])]
    nodes += [node("ReduceMean", ["active", "axes"], ["mean"], keepdims=1)]
    model = graph([*nodes, node("Reshape", ["mean", "flat"], ["out"], allowzero=1)])
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    artifact = Artifact(str(tmp_path), str(path), (3, 8, 8), 16, "features")
    with start_worker("deepsparse", threads=1) as worker:
        worker.compile(artifact, CompileRequest(batch_size=len(IMAGES), threads=1))
        assert worker.describe["supported_fraction"] == 1
        np.testing.assert_allclose(worker.run(IMAGES), computed(model), atol=1e-5)
