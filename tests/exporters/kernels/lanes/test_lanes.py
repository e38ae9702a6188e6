"""Networks of any form on the kernels of one image a lane, against PyTorch and ONNX's reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import supported_isas
from sparsebench.exporters.kernels.inference.onnx_nodes import UnsupportedOnnxError
from sparsebench.exporters.kernels.lanes.library import lane_library
from sparsebench.exporters.kernels.lanes.network import LaneNetwork
from sparsebench.exporters.kernels.lanes.reader import read_lanes
from sparsebench.exporters.kernels.lanes.steps import RowStep
from sparsebench.exporters.onnx.export import write_onnx

SIDE = 12
ISAS = supported_isas()


class Attention(nn.Module):
    """Three heads over nine patches, a token in front, positions, GELU, a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.positions = nn.Parameter(torch.randn(1, 10, 24))
        self.first, self.second, self.last = (nn.LayerNorm(24) for _ in range(3))
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 24)
        self.wide, self.narrow = nn.Linear(24, 40), nn.Linear(40, 24)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        batch, count = x.shape[:2]
        qkv = self.qkv(self.first(x)).reshape(batch, count, 3, 3, 8).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, count, 24))
        x = x + self.narrow(functional.gelu(self.wide(self.second(x))))
        found: Tensor = self.last(x)[:, 0]
        return found


class Gated(nn.Module):
    """Depthwise and grouped convolutions, squeeze-and-excite, hard swish and SiLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.depthwise = nn.Conv2d(16, 16, 5, padding=2, groups=16, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=4)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.hardswish(self.stem(images))
        x = self.norm(self.depthwise(x))
        gate = functional.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = x * functional.hardsigmoid(self.excite(gate))
        return functional.silu(self.grouped(x)).mean((2, 3))


class Mixed(nn.Module):
    """Channels joined and shuffled, poolings of each kind, norms that do not fold, wide windows."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 9, padding="same")
        self.norm, self.groups = nn.BatchNorm2d(16), nn.GroupNorm(4, 16)
        self.last = nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.cat([functional.gelu(self.left(images)), self.right(images)], 1)
        x = x.reshape(-1, 2, 8, SIDE, SIDE).transpose(1, 2).reshape(-1, 16, SIDE, SIDE)
        x = self.groups(torch.relu(self.norm(x)))
        x = functional.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=False)
        x = torch.tanh(self.last(x)) + functional.relu6(self.last(x) * 3)
        x = functional.max_pool2d(functional.leaky_relu(x, 0.1), 3, 2, 1)
        first, second = x.chunk(2, 1)
        found: Tensor = (torch.sigmoid(first) * second - torch.exp(-second.abs())).flatten(1)
        return found


class Normalised(nn.Module):
    """ConvNeXt's block: a depthwise convolution, channels last, a layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 12, 2, 2), nn.Conv2d(12, 12, 7, 1, 3, groups=12)
        self.norm, self.wide, self.narrow = nn.LayerNorm(12), nn.Linear(12, 48), nn.Linear(48, 12)
        self.scale = nn.Parameter(torch.rand(12))

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        x = self.norm(self.depthwise(stem).permute(0, 2, 3, 1))
        x = self.scale * self.narrow(functional.gelu(self.wide(x)))
        found: Tensor = (stem + x.permute(0, 3, 1, 2)).mean((2, 3))
        return found


class Wide(nn.Module):
    """145 tokens that look at each other and a layer of 1.9 MB: more than one piece of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.token = nn.Conv2d(3, 16, 1), nn.Parameter(torch.randn(1, 1, 16))
        self.wide, self.narrow = nn.Linear(16, 200), nn.Linear(200, 16)
        self.mix = nn.Conv2d(200, 30, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = torch.softmax(x @ x.transpose(1, 2), 2) @ x
        x = torch.relu(self.wide(x))
        planes = self.mix(x[:, 1:].transpose(1, 2).reshape(-1, 200, SIDE, SIDE))
        found: Tensor = torch.cat([self.narrow(x).mean(1), planes.mean((2, 3))], 1)
        return found


def pruned(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1 and parameter.numel() > 300:
                parameter[torch.rand_like(parameter) < 0.8] = 0
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.randn(module.num_features)
                module.running_var = torch.rand(module.num_features) + 0.5
    return network.eval()


@pytest.fixture(scope="module", params=[Attention, Gated, Mixed, Normalised, Wide])
def exported(request: Any, tmp_path_factory: Any) -> tuple[nn.Module, Path]:
    torch.manual_seed(0)
    network = pruned(request.param())
    path = tmp_path_factory.mktemp("lanes") / "model.onnx"
    write_onnx(network, path, SIDE)
    return network, path


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("generated", [True, False])
@pytest.mark.parametrize(("extra", "threads"), [(0, 1), (-1, 2), (3, 2)])
def test_outputs_are_pytorchs(
    exported: tuple[nn.Module, Path], isa: str, generated: bool, extra: int, threads: int
) -> None:
    network, path = exported
    kernels = lane_library(isa)
    count = kernels.lanes + extra
    graph = read_lanes(str(path), (3, SIDE, SIDE))
    compiled = LaneNetwork(graph, count, (3, SIDE, SIDE), kernels, threads, generated)
    images = np.random.default_rng(1).standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(compiled.run(images), expected, rtol=1e-4, atol=2e-5)
    np.testing.assert_array_equal(compiled.run(images), compiled.run(images))
    assert compiled.paths[0] == ("generated" if generated and isa != "portable" else "compiled")


def test_zeros_cost_no_multiply_add(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = pruned(Attention())
    write_onnx(network, tmp_path / "model.onnx", SIDE)
    graph = read_lanes(str(tmp_path / "model.onnx"), (3, SIDE, SIDE))
    kernels = lane_library(supported_isas()[0])
    compiled = LaneNetwork(graph, kernels.lanes, (3, SIDE, SIDE), kernels, 1)
    assert isinstance(network, Attention)
    layers = (network.qkv, network.out, network.wide, network.narrow)
    kept = sum(int((layer.weight != 0).sum()) for layer in layers) * 10  # tokens
    kept += int((network.patches.weight != 0).sum()) * 9  # patches
    assert sum(compiled.multiply_adds.values()) == kept


def test_gelu_and_layer_norm_are_programs_of_rows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_onnx(pruned(Attention()), tmp_path / "model.onnx", SIDE)
    graph = read_lanes(str(tmp_path / "model.onnx"), (3, SIDE, SIDE))
    kernels = lane_library(supported_isas()[0])
    LaneNetwork(graph, kernels.lanes, (3, SIDE, SIDE), kernels, 1)
    programs = [
        [i.op for i in step.instructions] for step in graph.steps if isinstance(step, RowStep)
    ]
    assert ["gelu"] in programs
    norm = ["mean", "sub", "mul", "mean", "add", "sqrt", "div", "mul", "add"]
    assert any(program[-len(norm) :] == norm for program in programs)
    assert any(program[-4:] == ["sub", "exp", "sum", "div"] for program in programs)  # softmax


@pytest.mark.parametrize("isa", ISAS)
def test_silu_is_one_instruction_and_right_far_from_zero(isa: str, tmp_path: Path) -> None:
    """On planes that are no whole number of lines, and fewer images than lanes."""
    write_onnx(nn.Sequential(nn.SiLU(), nn.Flatten()), tmp_path / "model.onnx", 5)
    graph = read_lanes(str(tmp_path / "model.onnx"), (3, 5, 5))
    compiled = LaneNetwork(graph, 3, (3, 5, 5), lane_library(isa), 1)
    programs = [
        [i.op for i in step.instructions] for step in graph.steps if isinstance(step, RowStep)
    ]
    assert ["silu"] in programs
    images = np.linspace(-60, 120, 3 * 75, dtype=np.float32).reshape(3, 3, 5, 5)
    exact = images.astype(float) / (1 + np.exp(-images.astype(float)))
    found = compiled.run(images)
    np.testing.assert_allclose(found, exact.reshape(3, -1), rtol=5e-7)
    images[1, 2, 4, 4] = np.nan
    images[0, 0, 0] = [-1e4, -90, 1e4, -0.0, np.inf]
    found = compiled.run(images)
    assert np.flatnonzero(np.isnan(found)).tolist() == [75 + 74]
    np.testing.assert_allclose(found[0, :5], [0, 0, 1e4, 0, np.inf], atol=1e-33)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    model = one_node("Atanh", [])
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOnnxError, match="Atanh 'odd'.*do not know this operator"):
        read_lanes(str(tmp_path / "model.onnx"), (3, 4, 4))


@pytest.mark.parametrize(
    ("scales", "mode"),
    [([1, 1, 2, 2], "linear"), ([1, 1, 1.5, 2], "nearest"), ([1, 2, 2, 2], "nearest")],
)
def test_planes_enlarged_otherwise_are_refused(
    scales: list[float], mode: str, tmp_path: Path
) -> None:
    model = one_node("Resize", [np.zeros(0, np.float32), np.array(scales, np.float32)], mode=mode)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UnsupportedOnnxError, match="only planes enlarged by whole factors"):
        read_lanes(str(tmp_path / "model.onnx"), (3, 4, 4))


OPERATORS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "pow": ("Pow", [np.float32(2)], {}),
    "division by a row": ("Div", [np.arange(1, 5, dtype=np.float32)], {}),
    "a constant first": ("Sub", [np.ones((1, 3, 1, 1), np.float32)], {}),
    "softmax inside": ("Softmax", [], {"axis": 1}),
    "slice back": ("Slice", [np.array([3]), np.array([-5]), np.array([2]), np.array([-2])], {}),
    "gather a row": ("Gather", [np.array(2)], {"axis": 2}),
    "gather every second": ("Gather", [np.array([3, 1])], {"axis": 3}),
    "gather a plane's places": ("Gather", [np.array([[0, 1], [1, 2], [2, 3]])], {"axis": 2}),
    "gather a place twice": ("Gather", [np.array([1, 1])], {"axis": 1}),
    "sum over two axes": ("ReduceSum", [np.array([1, 3])], {"keepdims": 0}),
    "largest": ("ReduceMax", [], {"axes": [2]}),
    "transposed": ("Transpose", [], {"perm": [0, 3, 1, 2]}),
    "flattened": ("Reshape", [np.array([0, -1, 2])], {}),
    "padded": ("Pad", [np.array([0, 0, 1, 2, 0, 0, 0, 1])], {}),
    "expanded": ("Expand", [np.array([1, 3, 4, 4])], {}),
    "doubled": (
        "Resize",
        [np.array([], np.float32), np.array([1, 1, 2, 2], np.float32)],
        {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        },
    ),
    "to another size": (
        "Resize",
        [np.array([], np.float32), np.array([], np.float32), np.array([1, 3, 12, 4])],
        {"mode": "nearest"},
    ),
    "clip": ("Clip", [np.float32(-0.5), np.float32(0.5)], {}),
    "erf": ("Erf", [], {}),
    "softplus": ("Softplus", [], {}),
    "hard swish": ("HardSwish", [], {}),
    "instance norm": (
        "InstanceNormalization",
        [np.array([1, 2, 3], np.float32), np.array([0, 1, 2], np.float32)],
        {},
    ),
    "same": ("Conv", [np.ones((2, 3, 2, 3), np.float32)], {"auto_pad": "SAME_LOWER"}),
}


def one_node(op: str, constants: list[Any], **attributes: Any) -> onnx.ModelProto:
    arrays = [np.asarray(value) for value in constants]
    names = [f"constant{i}" for i in range(len(arrays))]
    node = helper.make_node(op, ["images", *names], ["output"], "odd", **attributes)
    shape: list[str | int | None] = ["batch", 3, 4, 4]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [onnx.helper.make_empty_tensor_value_info("output")],
        [numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_those_of_onnx(name: str, tmp_path: Path) -> None:
    op, constants, attributes = OPERATORS[name]
    model = one_node(op, constants, **attributes)
    onnx.save(model, tmp_path / "model.onnx")
    kernels = lane_library(supported_isas()[0])
    graph = read_lanes(str(tmp_path / "model.onnx"), (3, 4, 4))
    compiled = LaneNetwork(graph, 2, (3, 4, 4), kernels, 1)
    images = np.random.default_rng(0).standard_normal((2, 3, 4, 4), dtype=np.float32)
    evaluator = ReferenceEvaluator(model)
    ran: list[Any] = [evaluator.run(None, {"images": images[i : i + 1]}) for i in range(2)]
    alone = [outputs[0] for outputs in ran]
    expected = np.stack([np.asarray(one).reshape(-1) for one in alone])
    np.testing.assert_allclose(compiled.run(images), expected, rtol=1e-5, atol=1e-6)


def test_a_nan_stays_one(tmp_path: Path) -> None:
    model = one_node("Sigmoid", [])
    onnx.save(model, tmp_path / "model.onnx")
    kernels = lane_library(supported_isas()[0])
    graph = read_lanes(str(tmp_path / "model.onnx"), (3, 4, 4))
    compiled = LaneNetwork(graph, 2, (3, 4, 4), kernels, 1)
    images = np.zeros((2, 3, 4, 4), np.float32)
    images[1, 2, 0, 0] = np.nan
    found = compiled.run(images)
    assert np.isnan(found).sum() == 1 and np.isnan(found[1, 32])
