"""Networks of whole planes on the kernels of neighbouring pixels, against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import chosen_isa
from sparsebench.exporters.kernels.generated.memory import no_code
from sparsebench.exporters.kernels.lanes.library import lane_library
from sparsebench.exporters.kernels.lanes.reader import LaneGraph, read_lanes
from sparsebench.exporters.kernels.lines.choice import any_network
from sparsebench.exporters.kernels.lines.layout import LinesRefusedError
from sparsebench.exporters.kernels.lines.network import LineNetwork

needs_code = pytest.mark.skipif(
    bool(no_code(chosen_isa(), "float32")), reason="no code is generated on this processor"
)


class Pyramid(nn.Module):
    """Strides with windows of each parity, joined and enlarged maps, SiLU, a residual, poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 6, 2, 2, bias=False), nn.BatchNorm2d(12)
        self.down, self.thin = nn.Conv2d(12, 16, 3, 2, 1), nn.Conv2d(12, 16, 1, 2)
        self.wide = nn.Conv2d(16, 20, 7, 2, 3)
        self.depthwise = nn.Conv2d(20, 20, 3, padding=2, dilation=2, groups=20)
        self.across = nn.Conv2d(44, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        fine = functional.silu(self.norm(self.stem(images)))
        half = torch.relu(self.down(fine) + self.thin(fine))
        coarse = functional.silu(self.wide(half))
        coarse = coarse + torch.sigmoid(self.depthwise(coarse))
        pooled = functional.max_pool2d(coarse, 5, 1, 2)
        joined = torch.cat([coarse, functional.avg_pool2d(pooled, 3, 1, 1), pooled[:, :4]], 1)
        above = functional.interpolate(self.across(joined), scale_factor=2.0, mode="nearest")
        found = torch.cat([half, above], 1)[:, 8:24]
        first, second = self.last(found * 0.5), self.last(functional.max_pool2d(half, 3, 2, 1))
        return torch.cat([torch.flatten(first, 1), torch.flatten(second, 1)], 1)


class Unpadded(nn.Module):
    """A window without padding and a mean: shapes that change otherwise than by strides."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.second(torch.relu(self.first(images))).mean((2, 3))
        return found


def _graph(network: nn.Module, size: tuple[int, int], folder: Path) -> LaneGraph:
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 4:  # half of the weights are zeros
                parameter.mul_(torch.rand_like(parameter) < 0.5)
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, *size),),
        str(folder / "model.onnx"),
        opset_version=13,
        dynamo=False,
        dynamic_axes=None,
    )
    return read_lanes(str(folder / "model.onnx"), (3, *size))


@needs_code
@pytest.mark.parametrize("size", [(40, 40), (24, 72), (8, 8)])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_are_pytorchs_for_one_image_after_another(
    size: tuple[int, int], threads: int, tmp_path: Path
) -> None:
    torch.manual_seed(sum(size))
    network = Pyramid()
    graph = _graph(network, size, tmp_path)
    ours = LineNetwork(graph, 2, (3, *size), lane_library("avx512"), threads)
    assert ours.parts == [(2, "lines")] and ours.code_bytes > 0
    for seed in range(3):  # what one call leaves between rows must not reach the next
        images = np.random.default_rng(seed).normal(0, 2, (2, 3, *size)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(ours.run(images), expected, rtol=1e-4, atol=2e-5)


@needs_code
def test_a_nan_stays_in_its_image(tmp_path: Path) -> None:
    graph = _graph(Pyramid(), (40, 40), tmp_path)
    ours = LineNetwork(graph, 1, (3, 40, 40), lane_library("avx512"), 1)
    images = np.ones((1, 3, 40, 40), np.float32)
    clean = ours.run(images)
    images[0, 1, 20, 20] = np.nan
    assert np.isnan(ours.run(images)).any()
    assert np.array_equal(ours.run(np.ones_like(images)), clean)


@needs_code
def test_zeros_cost_no_multiply_add(tmp_path: Path) -> None:
    network = Pyramid()
    graph = _graph(network, (40, 40), tmp_path)
    found = LineNetwork(graph, 3, (3, 40, 40), lane_library("avx512"), 1).multiply_adds
    (layer,) = [step for step in graph.layers if step.weight.shape[2] == 6]
    vectors = -(-20 * 22 // 16)  # 20 rows of 20 pixels, each with two zeros behind it
    kept = int((network.stem.weight != 0).sum())
    assert found[layer.name, "generated"] in (3 * vectors * kept, 3 * (-(-20 * 21 // 16)) * kept)


@needs_code
def test_few_images_take_lines_and_many_take_lanes(tmp_path: Path) -> None:
    kernels = lane_library("avx512")

    def layouts(network: nn.Module, count: int) -> tuple[list[str], str]:
        graph = _graph(network, (16, 16), tmp_path)
        found = any_network(graph, count, (3, 16, 16), kernels, 1)
        return [layout for _, layout in found.parts], found.why_not

    assert layouts(Pyramid(), 8) == (["lines"], "")
    assert layouts(Pyramid(), 9) == (["lanes"], "")
    kind, why = layouts(Unpadded(), 1)
    assert kind == ["lanes"] and "no padding" in why


@needs_code
def test_what_does_not_keep_to_planes_is_refused_by_name(tmp_path: Path) -> None:
    graph = _graph(Unpadded(), (16, 16), tmp_path)
    with pytest.raises(LinesRefusedError, match="has no padding for its borders"):
        LineNetwork(graph, 1, (3, 16, 16), lane_library("avx512"), 1)
