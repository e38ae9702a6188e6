"""Quantized graphs against integer arithmetic in numpy and ONNX Runtime's own operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sparsebench.exporters.onnx import quantise_artifact
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import write_onnx
from sparsebench.exporters.onnx.onnx_weights import all_weighted_nodes
from sparsebench.exporters.onnx.quantise import (
    FORMS,
    quantise,
    quantise_weight,
    tensors_to_calibrate,
    tie_pools,
)
from sparsebench.exporters.onnx.quantise_artifact import CALIBRATION_FILE, quantised_artifact
from sparsebench.exporters.onnx.quantise_graph import fold_batch_norm
from sparsebench.exporters.onnx.quantise_ranges import Range, calibrate, choose_range
from sparsebench.exporters.onnx.readers import ANY, Readers
from sparsebench.models.architectures import build
from sparsebench.models.errors import SparsebenchError

Array = NDArray[Any]
FINITE = st.floats(-1e3, 1e3, allow_nan=False, width=32)


def run(model: onnx.ModelProto, images: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def quantised(model: onnx.ModelProto, images: Array, form: str) -> onnx.ModelProto:
    ranges = calibrate(model, tensors_to_calibrate(model), images)
    tie_pools(model, ranges)
    return quantise(model, ranges, form)


def residual_network(tmp_path: Path) -> onnx.ModelProto:
    """What a ResNet is made of: stem, max-pool, a block with an identity, pooled features."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
            )
            self.body = nn.Sequential(
                nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
            )

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            early = self.stem(images)
            return torch.relu(self.body(early) + early).mean((2, 3))

    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    module = Net()
    for parameter in module.parameters():
        parameter.data *= torch.rand_like(parameter) > 0.5
    write_onnx(module, path, 16)
    return onnx.load(str(path))


IMAGES = np.random.default_rng(0).standard_normal((8, 3, 16, 16), dtype=np.float32)


@given(st.floats(-1e3, 0, width=32), st.floats(0, 1e3, width=32))
@settings(max_examples=200, deadline=None)
def test_zero_is_one_of_a_range_s_values_and_its_ends_are_near_the_others(
    low: float, high: float
) -> None:
    one = Range(low, high)
    scale, zero = float(one.scale), int(one.zero_point)
    assert scale > 0
    assert 0 <= zero <= 255
    assert (zero - zero) * scale == 0.0
    if high - low > 1e-30:
        assert abs((0 - zero) * scale - low) <= 0.51 * scale
        assert abs((255 - zero) * scale - high) <= 0.51 * scale


@given(
    st.lists(st.lists(FINITE, min_size=4, max_size=4), min_size=1, max_size=3),
    st.floats(-50, 50, width=32),
    st.floats(2**-10, 10, width=32),
)
@example([[0.0, 0.0, 0.0, 2.0**-149]], 0.0, 1.0)  # a step of less than float32 holds
@settings(max_examples=200, deadline=None)
def test_weights_keep_their_zeros_their_signs_and_half_a_step(
    rows: list[list[float]], bias: float, input_scale: float
) -> None:
    weight = np.array(rows, np.float32).reshape(len(rows), 4, 1, 1)
    biases = np.full(len(rows), bias, np.float32)
    codes, scale, steps = quantise_weight(weight, biases, np.float32(input_scale))
    assert codes.dtype == np.int8
    assert codes.min() >= -127
    np.testing.assert_array_equal(codes == 0, weight == 0)
    np.testing.assert_array_equal(np.sign(codes), np.sign(weight))
    found = codes * scale.reshape(-1, 1, 1, 1)
    # Half a step by rounding; a whole one where only zero would be nearer.
    limit = np.where(np.abs(codes) == 1, 1.0, 0.5001) * scale.reshape(-1, 1, 1, 1)
    assert (np.abs(found - weight) <= limit + 1e-6).all()
    unit = np.float64(input_scale) * scale.astype(np.float64)
    assert (np.abs(steps * unit - bias) <= 0.51 * unit).all()
    assert (np.abs(steps.astype(np.float64)) <= 2**23 + 1).all()


@pytest.mark.parametrize(
    ("flags", "most"),
    [({"avx2"}, 64), ({"avx2", "avx512f"}, 64), ({"avx2", "avx_vnni"}, 127),
     ({"avx512_vnni", "avx2"}, 127), (set(), 127)],
)  # fmt: skip
def test_sums_of_two_products_fit_16_bits_on_processors_without_vnni(
    flags: set[str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen on Zen 3: OpenVINO's outputs were 54 % of their range away from PyTorch's."""
    monkeypatch.setattr(quantise_artifact, "cpu_flags", lambda: flags)
    assert quantise_artifact.largest_here() == most
    weight = np.random.default_rng(0).normal(size=(3, 8, 3, 3)).astype(np.float32)
    codes, _, _ = quantise_weight(weight, np.zeros(3, np.float32), np.float32(0.1), most)
    assert np.abs(codes.astype(int)).max() == most
    assert most == 127 or 2 * 255 * most < 2**15


def test_a_filter_of_zeros_still_adds_its_bias() -> None:
    bias = np.array([3.7], np.float32)
    codes, scale, steps = quantise_weight(np.zeros((1, 2, 1, 1), np.float32), bias, np.float32(0.1))
    assert not codes.any()
    assert float(steps[0]) * 0.1 * float(scale[0]) == pytest.approx(3.7, rel=1e-6)


def test_one_wild_value_does_not_stretch_the_range() -> None:
    counts = np.zeros(2048, np.int64)
    counts[:200] = 1000  # values from 0 to 10 of 100
    counts[-1] = 1
    # N (h / 255)^2 / 12 of rounding plus (100 - h)^2 of clipping is least at this h.
    best = 100 / (1 + 200_000 / (12 * 255**2))
    assert choose_range(counts, 0.0, 100.0).high == pytest.approx(best, abs=1.0)
    evenly = np.full(2048, 5, np.int64)
    assert choose_range(evenly, -1.0, 1.0) == Range(-1.0, 1.0)


def test_convinteger_computes_what_whole_numbers_give(tmp_path: Path) -> None:
    """Against a convolution of int64 in numpy: zero points, padding, bias and scales."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.5] = 0
    bias = rng.standard_normal(4).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="c", pads=[1] * 4, strides=[2, 2])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    images = IMAGES + 0.7  # a zero point away from the middle
    ranges = calibrate(model, tensors_to_calibrate(model), images)
    one = ranges["x"]
    codes, scale, steps = quantise_weight(weight, bias, one.scale)
    zero = int(one.zero_point)
    pixels = np.clip(np.rint(images / one.scale) + zero, 0, 255).astype(np.int64) - zero
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.zeros((8, 4, 8, 8), np.int64)
    for down in range(3):
        for right in range(3):
            part = padded[:, :, down : down + 16 : 2, right : right + 16 : 2]
            expected += np.einsum("ncij,oc->noij", part, codes[:, :, down, right].astype(np.int64))
    expected += steps.astype(np.int64)[:, None, None]
    wanted = expected * (scale * one.scale).astype(np.float64)[:, None, None]
    for form in FORMS:
        found = run(quantise(model, ranges, form), images)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("form", FORMS)
def test_a_residual_network_stays_what_it_was(form: str, tmp_path: Path) -> None:
    model = residual_network(tmp_path)
    expected = run(model, IMAGES)
    made = quantised(model, IMAGES, form)
    found = run(made, IMAGES)
    assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()
    kinds = [node.op_type for node in made.graph.node]
    if form == "integer":
        assert kinds.count("ConvInteger") == 3 and "Conv" not in kinds
        pool = next(node for node in made.graph.node if node.op_type == "MaxPool")
        assert not pool.input[0].endswith(("_u8", "_of_u8"))  # DeepSparse refuses it otherwise
    else:
        assert kinds.count("Conv") == 3
    onnx.save(made, str(tmp_path / "made.onnx"))
    before = [layer.weight != 0 for layer in all_weighted_nodes(tmp_path / "net.onnx")]
    after = [layer.weight != 0 for layer in all_weighted_nodes(tmp_path / "made.onnx")]
    assert len(before) == len(after)
    assert all(np.array_equal(one, two) for one, two in zip(before, after, strict=True))


def test_batch_norm_behind_a_convolution_is_folded() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.data.uniform_(0.5, 2.0)
    arrays = {
        "w": conv.weight, "b": conv.bias, "g": norm.weight, "s": norm.bias,
        "m": norm.running_mean, "v": norm.running_var,
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["t"]),
            helper.make_node("BatchNormalization", ["t", "g", "s", "m", "v"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 14, 14])],
        [
            numpy_helper.from_array(t.detach().numpy(), n)
            for n, t in arrays.items()
            if t is not None
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with torch.inference_mode():
        expected = norm(conv(torch.from_numpy(IMAGES))).numpy()
    fold_batch_norm(model)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    np.testing.assert_allclose(run(model, IMAGES), expected, rtol=1e-4, atol=1e-5)


def shared_constants() -> onnx.ModelProto:
    """Two convolutions of one weight and one bias, which a Constant and an Identity hand on."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((3, 3, 3, 3)).astype(np.float32)
    scale, shift = np.ones(3, np.float32), np.zeros(3, np.float32)
    node = helper.make_node
    return helper.make_model(
        helper.make_graph(
            [
                node("Constant", [], ["b"], value=numpy_helper.from_array(shift, "value")),
                node("Identity", ["w"], ["same"]),
                node("Identity", ["same"], ["again"]),
                node("Identity", ["s"], ["variance"]),
                node("Conv", ["x", "w", "b"], ["one"], name="first", pads=[1] * 4),
                node("Relu", ["one"], ["positive"]),
                node("Conv", ["positive", "again", ""], ["two"], name="second", pads=[1] * 4),
                node("BatchNormalization", ["two", "s", "b", "b", "variance"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 16, 16])],
            [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(scale, "s")],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )


@pytest.mark.parametrize("form", FORMS)
def test_weights_that_several_convolutions_share_are_quantized_in_each(form: str) -> None:
    """4 of 20 convolutions of an untrained ResNet-18 stayed in float: their biases are one."""
    model = shared_constants()
    expected = run(model, IMAGES)
    fold_batch_norm(model)
    assert [one.op_type for one in model.graph.node] == ["Conv", "Relu", "Conv"]
    np.testing.assert_allclose(run(model, IMAGES), expected, rtol=1e-4, atol=1e-4)
    made = quantised(model, IMAGES, form)
    assert np.abs(run(made, IMAGES) - expected).max() <= 0.03 * np.abs(expected).max()
    steps = {"integer": "ConvInteger", "qdq": "QuantizeLinear"}
    assert [one.op_type for one in made.graph.node].count(steps[form]) == 2


@pytest.mark.parametrize("readers", [ANY, Readers(opset=13)])
def test_every_convolution_of_an_untrained_network_is_quantized(
    tmp_path: Path, readers: Readers
) -> None:
    path = tmp_path / "net.onnx"
    write_onnx(build("resnet18", 10), path, 32, readers)
    model = onnx.load(str(path))
    shares = any(one.op_type == "Identity" for one in model.graph.node)
    assert shares or readers is ANY  # else it tells nothing of equal tensors
    fold_batch_norm(model)
    kinds = [one.op_type for one in model.graph.node]
    assert kinds.count("Conv") == 20
    assert len(tensors_to_calibrate(model)) >= 17


def test_a_convolution_whose_weights_are_computed_is_refused_by_name() -> None:
    """It would stay in float, and a network of mixed precision be shown as one of INT8."""
    model = shared_constants()
    model.graph.node.insert(0, helper.make_node("ReduceMax", ["x"], ["factor"], keepdims=0))
    model.graph.node.insert(1, helper.make_node("Mul", ["w", "factor"], ["made"]))
    next(one for one in model.graph.node if one.name == "second").input[1] = "made"
    fold_batch_norm(model)
    with pytest.raises(SparsebenchError, match=r"1 of 2 convolutions .*: second\."):
        tensors_to_calibrate(model)


def test_a_network_without_convolutions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.onnx"
    write_onnx(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)), path, 16)
    with pytest.raises(SparsebenchError, match="no convolution"):
        tensors_to_calibrate(onnx.load(str(path)))


def test_an_artifact_is_calibrated_once_and_always_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    residual_network(tmp_path)
    artifact = Artifact(str(tmp_path), str(tmp_path / "net.onnx"), (3, 16, 16), 8, "features")
    images = IMAGES[:4]
    asked = []

    def give() -> NDArray[np.float32]:
        asked.append(1)
        return images

    one = quantised_artifact(artifact, "integer", "these", give)
    two = quantised_artifact(artifact, "qdq", "these", give)
    assert (one.folder, len(asked)) == (two.folder, 1)
    assert one.onnx != two.onnx
    assert one.facts["quantisation"]["images"] == 4
    assert quantised_artifact(artifact, "qdq", "others", give).folder != two.folder
    before = {p: (Path(one.folder) / p).read_bytes() for p in (CALIBRATION_FILE, "qdq.onnx")}
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "again"))
    again = quantised_artifact(artifact, "integer", "these", give)
    assert again.folder != one.folder
    for name, content in before.items():
        assert (Path(again.folder) / name).read_bytes() == content
