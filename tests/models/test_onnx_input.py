"""What an ONNX network takes: its layout, its range, one image at a time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file import running
from sparsebench.models.onnx_file.graph import open_onnx
from sparsebench.models.sources.onnx_file import load_onnx
from sparsebench.models.zoo import find_card
from tests.models.onnx_graphs import BODY, model_of, noise, saved, weights

node = helper.make_node
GEMM = node("Gemm", ["features", "w1", "b1"], ["logits"])
FIRST = [node("Conv", ["turned", "w0", "b0"], ["c0"], "first", pads=[1, 1, 1, 1]), *BODY[1:], GEMM]
LAST = [node("Transpose", ["images"], ["turned"], perm=[0, 3, 1, 2]), *FIRST]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "shape",
    [
        ("n", "h", "w", 3),
        (1, "h", "w", 3),
        ("n", "h", 224, 3),
        ("n", 224, 224, 3),
        ("n", "h", "w", "c"),
        ("n", 3, "w", "c"),
    ],
)
def test_channels_last_is_refused_naming_the_layout_and_the_fix(
    tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    path = saved(model_of(LAST, shape=shape), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match=r"channels last \(NHWC\)") as caught:
        load_onnx(str(path))
    assert "--inputs-as-nchw" in caught.value.fix


@pytest.mark.parametrize(
    "shape", [("n", "c", "h", "w"), ("n", 3, "h", "w"), (1, "c", 16, 16), ("n", "c", "h", 16)]
)
def test_channels_first_is_established_from_the_first_convolution(
    tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    path = saved(model_of([*BODY, GEMM], shape=shape), tmp_path / "my.onnx")
    file = open_onnx(path)
    assert file.side == (16 if 16 in shape else None)
    assert export_backbone(load_onnx(str(path)), size=16).output_dim == 12


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        (("n", 1, 16, 16), {}, "not images"),
        (("n", "c", 16, 16), {"w0": np.ones((12, 4, 3, 3), np.float32)}, "4 channels"),
        (("n", 3, 3, 3), {}, "images of 3 px"),
        (("n", 3, 16, 24), {}, r"takes \[\?, 3, 16, 24\]"),
        ((10**6, 3, 16, 16), {}, "one batch has more than"),
        ((1, 3, 10**6, 10**6), {}, "one batch has more than"),
    ],
)
def test_other_inputs_are_refused(
    tmp_path: Path,
    shape: tuple[int | str, ...],
    change: dict[str, np.ndarray],
    message: str,
) -> None:
    path = saved(model_of([*BODY, GEMM], stored=change, shape=shape), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match=message):
        load_onnx(str(path))


def test_free_axes_without_a_convolution_are_asked_for(tmp_path: Path) -> None:
    nodes = [node("ReduceMean", ["images"], ["m"], axes=[2, 3], keepdims=0),
             node("MatMul", ["m", "w"], ["logits"])]  # fmt: skip
    stored = {"w": np.ones((3, 5), np.float32)}
    path = saved(model_of(nodes, stored=stored, shape=("n", "c", "h", "w")), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match="neither its shape nor its first nodes tell"):
        load_onnx(str(path))


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def _channels(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([("Div", np.float32(255))], 1 / 255),
        ([("Mul", np.float32(1 / 127.5)), ("Sub", np.float32(1))], 1 / 255),
        ([("Sub", _channels([123.7, 116.3, 103.5]))], 1 / 255),
        ([("Sub", _channels(MEAN)), ("Div", _channels(STD))], 1.0),
        ([("Div", np.float32(255)), ("Sub", _channels(MEAN)), ("Div", _channels(STD))], 1 / 255),
        ([("Mul", np.float32(2)), ("Sub", np.float32(1))], 1.0),
        ([], None),
    ],
)
def test_a_graph_that_scales_its_input_gets_images_in_the_range_that_it_takes(
    tmp_path: Path, steps: list[tuple[str, np.ndarray]], expected: float | None
) -> None:
    nodes: list[NodeProto] = []
    stored, name = {}, "images"
    for number, (op, value) in enumerate(steps):
        stored[f"v{number}"] = np.asarray(value, np.float32)
        nodes.append(node(op, [name, f"v{number}"], [f"s{number}"]))
        name = f"s{number}"
    nodes.append(node("Identity", [name], ["turned"]))
    path = saved(model_of([*nodes, *FIRST], stored=stored), tmp_path / "my.onnx")
    card = find_card(str(path))
    if expected is None:
        assert card.preprocessing.std == (0.229, 0.224, 0.225)
    else:
        assert card.preprocessing.mean == (0.0, 0.0, 0.0)
        assert card.preprocessing.std == pytest.approx((expected,) * 3)
        assert "scales its input itself" in card.notes
    assert export_backbone(load_onnx(str(path))).output_dim == 12


def _first_norm(mean: list[float], variance: float) -> tuple[list[NodeProto], dict[str, Any]]:
    """A batch norm of the images, as MXNet's networks begin with."""
    stored = {"g": np.ones(3, np.float32), "o": np.zeros(3, np.float32),
              "e": np.array(mean, np.float32), "r": np.full(3, variance, np.float32)}  # fmt: skip
    return [node("BatchNormalization", ["images", *"goer"], ["turned"])], stored


def _rounded(zero: int) -> tuple[list[NodeProto], dict[str, Any]]:
    stored = {"q": np.array(1 / 255, np.float32), "z": np.array(zero, np.uint8)}
    return [node("QuantizeLinear", ["images", "q", "z"], ["whole"]),
            node("DequantizeLinear", ["whole", "q", "z"], ["turned"])], stored  # fmt: skip


def _clipped(high: float) -> tuple[list[NodeProto], dict[str, Any]]:
    stored = {"l": np.array(0, np.float32), "h": np.array(high, np.float32)}
    return [node("Clip", ["images", "l", "h"], ["turned"])], stored


def _computed_scale() -> tuple[list[NodeProto], dict[str, Any]]:
    """A division by constants that are computed: as whole numbers, and turned into a shape."""
    stored = {"c": np.array([255, 255, 255], np.int64), "axes": np.array([0, 2, 3], np.int64)}
    return [
        node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["f", "axes"], ["d"]),
        node("Div", ["images", "d"], ["turned"]),
    ], stored


def _turned_scale() -> tuple[list[NodeProto], dict[str, Any]]:
    """Red and blue exchanged before the division."""
    stored = {"a": np.array([2]), "b": np.array([-4]), "axis": np.array([1]),
              "step": np.array([-1]), "d": np.array(255, np.float32)}  # fmt: skip
    return [node("Slice", ["images", "a", "b", "axis", "step"], ["s"]),
            node("Div", ["s", "d"], ["turned"])], stored  # fmt: skip


@pytest.mark.parametrize(
    ("begins", "expected"),
    [
        (_first_norm([123.7, 116.3, 103.5], 3400), 1 / 255),
        (_first_norm(MEAN, 0.05), 1.0),
        (_first_norm([0.01, -0.02, 0.0], 1.1), None),  # of images that are scaled already
        (_rounded(0), 1.0),
        (_rounded(114), None),  # values below zero: scaled already
        (_clipped(255), 1 / 255),
        (_clipped(1), 1.0),
        (_computed_scale(), 1 / 255),
        (_turned_scale(), 1 / 255),
    ],
)
def test_the_range_is_read_from_norms_rounding_clips_and_computed_constants(
    tmp_path: Path, begins: tuple[list[NodeProto], dict[str, Any]], expected: float | None
) -> None:
    nodes, stored = begins
    path = saved(model_of([*nodes, *FIRST], stored=stored), tmp_path / "my.onnx")
    std = find_card(str(path)).preprocessing.std
    assert std == pytest.approx((expected,) * 3 if expected else (0.229, 0.224, 0.225))


def test_a_scale_of_text_is_no_scale(tmp_path: Path) -> None:
    nodes = [node("Mul", ["images", "text"], ["turned"]), *FIRST]
    stored = {"text": np.array(["x"], object)}
    file = open_onnx(saved(model_of(nodes, stored=stored), tmp_path / "my.onnx"))
    assert file.own_scaling is None


def _norm(**attributes: Any) -> list[NodeProto]:
    norm = node("BatchNormalization", ["c0", *"sbmv"], ["n0"], "bn", **attributes)
    return [BODY[0], norm, node("Relu", ["n0"], ["r0"]), *BODY[2:], GEMM]


NORM = {name: np.full(12, value, np.float32) for name, value in
        (("s", 1), ("b", 0), ("m", 0.1), ("v", 2))}  # fmt: skip
TRUE = {"yes": np.array(True), "ratio": np.array(0.5, np.float32), "rows": np.array([0], np.int64)}


def test_batch_norm_in_training_mode_is_refused_by_name(tmp_path: Path) -> None:
    nodes = _norm(training_mode=1)
    nodes[1].output.extend(["mean", "var"])
    path = saved(model_of(nodes, stored=NORM), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match=r"BatchNormalization 'bn' is in training mode"):
        load_onnx(str(path))
    path = saved(model_of(_norm(), stored=NORM), tmp_path / "good.onnx")
    assert export_backbone(load_onnx(str(path))).output_dim == 12


@pytest.mark.parametrize("kind", ["norm", "drop", "chance"])
def test_training_mode_inside_a_branch_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    """Seen: such a graph passed, and the proof blamed its batch axis."""
    inner = {
        "norm": node("BatchNormalization", ["c0", *"sbmv"], ["x"], "inner", training_mode=1),
        "drop": node("Dropout", ["c0", "ratio", "yes"], ["x"], "inner"),
        "chance": node("RandomNormalLike", ["c0"], ["x"], "inner"),
    }[kind]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    branch = helper.make_graph([inner], "branch", [], given)
    choice = node("If", ["yes"], ["n0"], then_branch=branch, else_branch=branch)
    nodes = [BODY[0], choice, node("Relu", ["n0"], ["r0"]), *BODY[2:], GEMM]
    stored = {**NORM, **TRUE}
    model = model_of(nodes, stored=stored)
    there = {tensor.name for tensor in model.graph.initializer}
    for name in stored.keys() - there:
        model.graph.initializer.append(numpy_helper.from_array(stored[name], name))
    with pytest.raises(SparsebenchError, match=r"'inner' (is in training mode|draws random)"):
        load_onnx(str(saved(model, tmp_path / "my.onnx")))


def test_dropout_in_training_mode_and_chance_are_refused_by_name(tmp_path: Path) -> None:
    drop = node("Dropout", ["r0", "ratio", "yes"], ["d"], "drop")
    nodes = [*BODY[:2], drop, node("GlobalAveragePool", ["d"], ["pooled"]), BODY[3], GEMM]
    path = saved(model_of(nodes, stored=TRUE), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match=r"Dropout 'drop' is in training mode"):
        load_onnx(str(path))
    off = {**TRUE, "yes": np.array(False)}
    assert export_backbone(load_onnx(str(saved(model_of(nodes, stored=off), tmp_path / "b.onnx"))))
    random = node("RandomNormalLike", ["r0"], ["d"], "chance")
    nodes[2] = random
    nodes.insert(3, node("Add", ["d", "r0"], ["e"]))
    nodes[4] = node("GlobalAveragePool", ["e"], ["pooled"])
    with pytest.raises(SparsebenchError, match="RandomNormalLike 'chance' draws random numbers"):
        load_onnx(str(saved(model_of(nodes), tmp_path / "c.onnx")))


@pytest.mark.parametrize("batch", ["n", 4])
def test_a_result_that_depends_on_the_neighbours_is_refused(
    tmp_path: Path, batch: int | str
) -> None:
    """Batch norm in training mode, written out as a mean over the batch."""
    nodes = [
        BODY[0],
        node("ReduceMean", ["c0"], ["mean"], axes=[0, 2, 3], keepdims=1),
        node("Sub", ["c0", "mean"], ["n0"]),
        node("Relu", ["n0"], ["r0"]),
        *BODY[2:],
        GEMM,
    ]
    shape = (batch, 3, 16, 16)
    path = saved(model_of(nodes, shape=shape), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match="depends on the others in its batch"):
        export_backbone(load_onnx(str(path)))


@pytest.mark.parametrize(
    ("bound", "said"), [(1, "one batch size: with [2-9]"), (2, "one batch size: with 1 image at")]
)
def test_a_free_batch_axis_that_is_bound_inside_is_no_matter_of_the_size(
    tmp_path: Path, bound: int, said: str
) -> None:
    turn = node("Reshape", ["pooled", "rows"], ["features"])
    rows = {"rows": np.array([bound, 12])}
    path = saved(model_of([*BODY[:3], turn, GEMM], stored=rows), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError) as caught:
        export_backbone(load_onnx(str(path)))
    assert re.search(said, str(caught.value))


def test_a_large_batch_is_proven_by_a_few_of_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image alone takes a whole call, so that calls would grow with the batch's square."""
    calls = list[int]()
    run = running.run_session

    def counted(session: Any, names: Any, images: Any, path: Path) -> Any:
        calls.append(len(images))
        return run(session, names, images, path)

    monkeypatch.setattr(running, "run_session", counted)
    path = saved(model_of([*BODY, GEMM], shape=(64, 3, 16, 16)), tmp_path / "my.onnx")
    assert export_backbone(load_onnx(str(path))).output_dim == 12
    assert len(calls) < 16
    first = node("Gather", ["c0", "zero"], ["first"], axis=0)
    nodes = [BODY[0], first, node("Sub", ["c0", "first"], ["r0"]), *BODY[2:], GEMM]
    model = model_of(nodes, stored={"zero": np.array([0])}, shape=(64, 3, 16, 16))
    with pytest.raises(SparsebenchError, match="depends on the others in its batch"):
        export_backbone(load_onnx(str(saved(model, tmp_path / "first.onnx"))))


def test_input_in_whole_numbers_names_what_to_leave_out(tmp_path: Path) -> None:
    nodes = [node("Cast", ["images"], ["turned"], to=TensorProto.FLOAT), *FIRST]
    path = saved(model_of(nodes, kind=TensorProto.UINT8), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match="takes uint8, not float32 images"):
        load_onnx(str(path))
    assert noise(1).dtype == np.float32 and weights()["w0"].shape == (12, 3, 3, 3)


def test_what_runs_with_no_number_of_images_is_no_matter_of_the_batch(tmp_path: Path) -> None:
    whole = node("ReduceMean", ["logits"], ["all"], keepdims=0)
    path = saved(model_of([*BODY, GEMM, whole], ["all"]), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError) as caught:
        export_backbone(load_onnx(str(path)))
    assert "does not hold one row" in str(caught.value) and "batch" not in str(caught.value)


def test_external_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Seen: "its tensors claim 0 MiB of external data, the files hold 0 MiB"."""
    path = tmp_path / "my.onnx"
    onnx.save_model(
        model_of([*BODY, GEMM]), str(path), save_as_external_data=True, location="my.data",
        size_threshold=0,
    )  # fmt: skip
    (tmp_path / "my.data").rename(tmp_path / "other.data")
    with pytest.raises(SparsebenchError, match="keeps weights in 'my.data', which is not beside"):
        load_onnx(str(path))
