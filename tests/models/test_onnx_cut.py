"""Where an ONNX graph is cut: in front of its last products with constant weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    quantize_dynamic,
    quantize_static,
)

from sparsebench.exporters.engines.deepsparse import _why
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.verify import check_outputs, reference
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.graph import open_onnx
from sparsebench.models.onnx_file.running import part_of
from sparsebench.models.sources.onnx_file import load_onnx
from tests.models.onnx_graphs import (
    BODY,
    CLASSES,
    WIDTH,
    Stored,
    body,
    model_of,
    noise,
    saved,
    weights,
)

node = helper.make_node
OPSET = helper.make_opsetid("", 17)
GEMM = node("Gemm", ["features", "w1", "b1"], ["scores"], "classifier")
CONSTANTS: Stored = {
    "ten": np.array(10, np.float32),
    "low": np.array(-3, np.float32),
    "zero": np.array(0, np.float32),
    "half": np.array([0.5], np.float32),
    "start": np.array([0], np.int64),
    "stop": np.array([3], np.int64),
    "axis": np.array([1], np.int64),
    "planes": np.array([2, 3], np.int64),
    "row": np.array([0, -1], np.int64),
    "w2": weights()["w1"] * 2,
    "left": weights()["w1"].T.copy(),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))


BEHIND: dict[str, list[NodeProto]] = {
    "nothing": [node("Gemm", ["features", "w1", "b1"], ["logits"])],
    "scaling": [GEMM, node("Mul", ["scores", "ten"], ["logits"])],
    "division": [GEMM, node("Div", ["scores", "ten"], ["logits"])],
    "clipping": [GEMM, node("Clip", ["scores", "low", "ten"], ["logits"])],
    "slices": [GEMM, node("Slice", ["scores", "start", "stop", "axis"], ["logits"])],
    "tanh and softmax": [GEMM, node("Tanh", ["scores"], ["t"]), node("Softmax", ["t"], ["logits"])],
    "norm": [GEMM, node("LpNormalization", ["scores"], ["logits"])],
    "a gather": [GEMM, node("Gather", ["scores", "row"], ["logits"], axis=1)],
    "matmul and bias": [
        node("MatMul", ["features", "w1"], ["m"]),
        node("Add", ["m", "b1"], ["logits"]),
    ],
    "averaged heads": [
        GEMM,
        node("MatMul", ["features", "w2"], ["m"]),
        node("Mean", ["scores", "m"], ["logits"]),
    ],
    "a convolution": [
        node("Conv", ["pooled", "k1"], ["c1"]),
        node("Flatten", ["c1"], ["logits"]),
    ],
    "a convolution of planes": [
        node("Conv", ["r0", "k1"], ["c1"]),
        node("GlobalAveragePool", ["c1"], ["p"]),
        node("Flatten", ["p"], ["logits"]),
    ],
    "a convolution, ReLU, mean, softmax": [
        node("Conv", ["r0", "k1"], ["c1"]),
        node("Relu", ["c1"], ["r1"]),
        node("GlobalAveragePool", ["r1"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Softmax", ["f"], ["logits"]),
    ],
    "a product from the left": [
        node("Unsqueeze", ["features", "axis"], ["u"]),
        node("Transpose", ["u"], ["column"], perm=[0, 2, 1]),
        node("MatMul", ["left", "column"], ["m"]),
        node("Squeeze", ["m"], ["logits"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in BEHIND if n != "a product from the left"])
def test_whatever_follows_the_features_are_those_of_the_last_product(
    tmp_path: Path, name: str
) -> None:
    path = saved(model_of([*BODY, *BEHIND[name]], stored=CONSTANTS), tmp_path / "my.onnx")
    backbone = load_onnx(str(path))
    assert backbone.file.head is not None
    artifact = export_backbone(backbone)
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"images": noise(7)})
    assert artifact.output_dim == WIDTH
    assert np.allclose(features, body(noise(7)), atol=1e-5)
    proof = reference(backbone, artifact, noise(7))
    verdict = check_outputs(backbone, artifact, proof, features, "fp32")
    assert verdict.ok, verdict.reason
    # The classifier on features decides as the whole file does.
    whole = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = backbone.classify(features, 16)
    if logits is not None:
        assert (logits.argmax(1) == whole.run(None, {"images": noise(7)})[0].argmax(1)).all()
    assert (logits is None) == ("planes" in name or "mean, softmax" in name)


def test_a_weight_on_the_left_is_counted(tmp_path: Path) -> None:
    left = BEHIND["a product from the left"]
    path = saved(model_of([*BODY, *left], stored=CONSTANTS), tmp_path / "my.onnx")
    backbone = load_onnx(str(path))
    assert [layer.weight.shape for layer in backbone.layers] == [(12, 3, 3, 3), (5, 12)]
    assert backbone.costs(16)[1].macs == 60


def test_of_several_outputs_the_one_of_a_classifier_is_taken(tmp_path: Path) -> None:
    nodes = [*BODY, GEMM, node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)]
    outputs: list[str | tuple[str, int]] = [("label", TensorProto.INT64), "features", "scores"]
    file = open_onnx(saved(model_of(nodes, outputs), tmp_path / "my.onnx"))
    assert (file.output, file.features, file.logits) == ("scores", ("features",), "scores")


@pytest.mark.parametrize("made_float", [False, True])
def test_outputs_that_are_labels_are_refused_by_name(tmp_path: Path, made_float: bool) -> None:
    nodes = [*BODY, GEMM, node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)]
    outputs: list[str | tuple[str, int]] = [("label", TensorProto.INT64)]
    if made_float:
        nodes.append(node("Cast", ["label"], ["number"], to=TensorProto.FLOAT))
        outputs = ["number"]
    path = saved(model_of(nodes, outputs), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match=r"output '(label|number)' holds places or labels"):
        load_onnx(str(path))


LABELS = {
    "one": np.array(1, np.float32), "zero": np.array(0, np.float32), "five": np.array(5),
    "names": np.arange(5, dtype=np.float32)[::-1].copy(), "two": np.array([0, 1], np.float32),
}  # fmt: skip
LABEL = node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)
NUMBER = node("Cast", ["label"], ["number"], to=TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("nodes", "by"),
    [
        ([LABEL, NUMBER, node("Add", ["number", "one"], ["y"])], "ArgMax"),
        ([LABEL, node("Gather", ["names", "label"], ["y"])], "ArgMax"),
        ([LABEL, node("OneHot", ["label", "five", "two"], ["y"])], "OneHot"),
        ([node("Greater", ["scores", "zero"], ["f"]),
          node("Cast", ["f"], ["y"], to=TensorProto.FLOAT)], "Greater"),
    ],
)  # fmt: skip
def test_labels_and_flags_stay_labels_behind_arithmetic(
    tmp_path: Path, nodes: list[NodeProto], by: str
) -> None:
    path = saved(model_of([*BODY, GEMM, *nodes], ["y"], LABELS), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match=rf"'y' holds places or labels \({by}\)"):
        load_onnx(str(path))


def test_an_activation_of_comparisons_is_no_label(tmp_path: Path) -> None:
    nodes = [
        node("Greater", ["scores", "zero"], ["f"]),
        node("Cast", ["f"], ["g"], to=TensorProto.FLOAT),
        node("Mul", ["scores", "g"], ["y"]),
    ]
    path = saved(model_of([*BODY, GEMM, *nodes], ["y"], LABELS), tmp_path / "my.onnx")
    assert open_onnx(path).features == ("features",)


def test_two_tensors_that_heads_read_are_features_together(tmp_path: Path) -> None:
    """As in DeiT with distillation: two tokens, two heads, their mean."""
    nodes = [
        *BODY,
        node("GlobalMaxPool", ["r0"], ["highest"]),
        node("Flatten", ["highest"], ["maxima"]),
        GEMM,
        node("MatMul", ["maxima", "w2"], ["m"]),
        node("Mean", ["scores", "m"], ["logits"]),
    ]
    path = saved(model_of(nodes, stored=CONSTANTS), tmp_path / "my.onnx")
    backbone = load_onnx(str(path))
    artifact = export_backbone(backbone)
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"images": noise(4)})
    assert artifact.output_dim == 2 * WIDTH
    assert np.allclose(features[:, :WIDTH], body(noise(4)), atol=1e-5)
    proof = reference(backbone, artifact, noise(4))
    assert check_outputs(backbone, artifact, proof, features, "fp32").argmax_agreement == 1.0


@pytest.mark.parametrize(
    "tail",
    [
        # A residual branch of products, as at the end of a transformer without its head.
        [node("Gemm", ["features", "square"], ["g"]), node("Add", ["features", "g"], ["logits"])],
        # Squeeze and excitation.
        [node("Gemm", ["features", "square"], ["g"]), node("Sigmoid", ["g"], ["s"]),
         node("Mul", ["features", "s"], ["logits"])],
        [node("Identity", ["features"], ["logits"])],
    ],
)  # fmt: skip
def test_where_images_reach_the_output_around_a_product_there_is_no_classifier(
    tmp_path: Path, tail: list[NodeProto]
) -> None:
    square = np.eye(WIDTH, dtype=np.float32)
    path = saved(model_of([*BODY, *tail], stored={"square": square}), tmp_path / "my.onnx")
    file = open_onnx(path)
    assert file.head is None and file.features == ("logits",)
    assert export_backbone(load_onnx(str(path))).output_dim == WIDTH


def test_a_map_of_scores_is_no_classifier(tmp_path: Path) -> None:
    """A network for segmentation: a score for each class and pixel."""
    path = saved(model_of([*BODY[:2], node("Conv", ["r0", "k1"], ["logits"])]), tmp_path / "a.onnx")
    with pytest.raises(SparsebenchError, match=r"\[1, 5, 16, 16\] is not a row of scores"):
        export_backbone(load_onnx(str(path)))


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.left = [{"images": noise(4)}, {"images": 2 * noise(4)}]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


@pytest.mark.parametrize("form", ["QOperator", "QDQ", "dynamic"])
@pytest.mark.parametrize("head", ["nothing", "matmul and bias", "a convolution"])
def test_quantized_files_are_cut_where_the_float_file_is(
    tmp_path: Path, form: str, head: str
) -> None:
    model = model_of([*BODY, *BEHIND[head]], stored=CONSTANTS, opset=13)
    plain = saved(model, tmp_path / "float.onnx")
    path = tmp_path / "int8.onnx"
    if form == "dynamic":
        quantize_dynamic(str(plain), str(path))
    else:
        quantize_static(str(plain), str(path), Calibration(), QuantFormat[form])
    backbone, real = load_onnx(str(path)), load_onnx(str(plain))
    assert backbone.quantized
    assert backbone.place == real.place == {"layers": 1, "head": 1}
    artifact = export_backbone(backbone)
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"images": noise(6)})
    assert features.dtype == np.float32 and features.shape == (6, WIDTH)
    scale = np.abs(body(noise(6))).max()
    assert np.abs(features - body(noise(6))).max() < 0.05 * scale
    logits = backbone.classify(features, 16)
    assert logits is not None and logits.shape == (6, CLASSES)
    proof = reference(backbone, artifact, noise(6))
    verdict = check_outputs(backbone, artifact, proof, features, "fp32")
    assert verdict.ok, verdict.reason


def test_half_precision_inside_is_no_matter_of_batch_size(tmp_path: Path) -> None:
    half = {name: value.astype(np.float16) for name, value in weights().items()}
    nodes = [
        node("Cast", ["images"], ["h"], to=TensorProto.FLOAT16),
        node("Conv", ["h", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        *BODY[1:],
        GEMM,
        node("Cast", ["scores"], ["logits"], to=TensorProto.FLOAT),
    ]
    path = saved(model_of(nodes, stored=half), tmp_path / "half.onnx")
    backbone = load_onnx(str(path))
    artifact = export_backbone(backbone)
    assert artifact.facts["batch_size"] is None
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"images": noise(5)})
    assert features.dtype == np.float32
    assert np.allclose(features, body(noise(5)), rtol=1e-2, atol=1e-2)
    logits = backbone.classify(features, 16)
    expected = body(noise(5)) @ weights()["w1"] + weights()["b1"]
    assert logits is not None and np.allclose(logits, expected, rtol=5e-2, atol=5e-2)


def test_nodes_in_another_order_and_functions_are_read(tmp_path: Path) -> None:
    """The order is the specification's demand, which not every writer keeps."""
    nodes = [*BODY, *BEHIND["nothing"]]
    path = saved(model_of(nodes[::-1]), tmp_path / "my.onnx")
    artifact = export_backbone(load_onnx(str(path)))
    assert artifact.output_dim == WIDTH
    model = model_of([*BODY[:3], node("Tail", ["pooled"], ["logits"], domain="own")])
    given = [numpy_helper.from_array(weights()[name]) for name in ("w1", "b1")]
    tail = helper.make_function(
        "own",
        "Tail",
        ["x"],
        ["y"],
        [
            node("Constant", [], ["w"], value=given[0]),
            node("Constant", [], ["b"], value=given[1]),
            node("Flatten", ["x"], ["f"]),
            node("Gemm", ["f", "w", "b"], ["y"]),
        ],
        [helper.make_opsetid("", 17)],
    )
    model.functions.append(tail)
    model.opset_import.append(helper.make_opsetid("own", 1))
    backbone = load_onnx(str(saved(model, tmp_path / "function.onnx")))
    assert [layer.weight.shape[0] for layer in backbone.layers] == [WIDTH, CLASSES]
    assert export_backbone(backbone).output_dim == WIDTH


def test_what_cannot_be_lowered_is_one_message_for_deepsparse(tmp_path: Path) -> None:
    """Gelu came with opset 20 and is written as no older operator."""
    gelu = [*BODY[:1], node("Gelu", ["c0"], ["r0"]), *BODY[2:], *BEHIND["nothing"]]
    path = saved(model_of(gelu, opset=20), tmp_path / "gelu.onnx")
    artifact = export_backbone(load_onnx(str(path)))
    said = _why(artifact, RuntimeError("NM: error\nline of C++"))
    assert "the file has opset 20" in said and "opset_version=19" in said
    assert "C++" not in said


@pytest.mark.parametrize("opset", [20, 21])
def test_a_newer_opset_is_lowered_where_that_is_exact(tmp_path: Path, opset: int) -> None:
    model = model_of([*BODY, *BEHIND["nothing"]], opset=opset)
    model.ir_version = 10
    path = saved(model, tmp_path / "new.onnx")
    artifact = export_backbone(load_onnx(str(path)))
    written = onnx.load(artifact.onnx)
    assert written.ir_version <= 9
    assert {o.version for o in written.opset_import if not o.domain} == {17}
    assert artifact.facts["own_opset"]["ai.onnx"] == opset
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"images": noise(3)})[0], body(noise(3)), atol=1e-5)


def test_a_part_holds_what_its_subgraphs_read() -> None:
    """A branch may read tensors and constants from around it, which are no inputs of its node."""
    value = helper.make_tensor_value_info
    branch = {
        word: helper.make_graph(
            [node("Add", ["body", name], [f"{word}_out"])],
            word, [], [value(f"{word}_out", TensorProto.FLOAT, None)],
        )
        for word, name in (("then_branch", "one"), ("else_branch", "two"))
    }  # fmt: skip
    graph = helper.make_graph(
        [
            node("Relu", ["images"], ["body"]),
            node("If", ["yes"], ["features"], **branch),
            node("Neg", ["features"], ["logits"]),
        ],
        "branches",
        [value("images", TensorProto.FLOAT, [2])],
        [value("logits", TensorProto.FLOAT, [2])],
        [
            numpy_helper.from_array(np.array(False), "yes"),
            numpy_helper.from_array(np.array([1], np.float32), "one"),
            numpy_helper.from_array(np.array([2], np.float32), "two"),
        ],
    )
    whole: Any = SimpleNamespace(
        model=helper.make_model(graph, opset_imports=[OPSET], ir_version=9)
    )
    part = part_of(whole, ["features"], {"images": (TensorProto.FLOAT, [2])})
    session = onnxruntime.InferenceSession(part.SerializeToString())
    (found,) = session.run(None, {"images": np.array([-1, 3], np.float32)})
    assert found.tolist() == [2, 5]
