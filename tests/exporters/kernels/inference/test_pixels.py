"""Small batches in lines of pixels: against PyTorch in float64, and beside the other layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6, library
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
)
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.pixel_network import PixelNetwork
from sparsebench.exporters.kernels.inference.split import SplitNetwork, split_batch

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
Array = NDArray[np.float64]
ACTIVATIONS = {NONE: lambda x: x, RELU: torch.relu, RELU6: functional.relu6}


@st.composite
def convolutions(draw: st.DrawFn, channels: int, size: tuple[int, int]) -> Geometry:
    """Whatever fits a plane of this size."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, dilation = pair(1, 4), pair(1, 3), pair(1, 2)
    padding = (*pair(0, 2), *pair(0, 2))
    groups = draw(st.sampled_from([1, 1, channels]))
    for axis in range(2):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        if reach > size[axis] + padding[axis] + padding[axis + 2]:
            kernel = (1, 1)
    return Geometry(
        groups * draw(st.integers(1, 5)), channels, kernel, stride, padding, dilation, groups
    )


def random_layer(
    geometry: Geometry, density: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    weight = rng.standard_normal(geometry.weight_shape)
    weight *= rng.random(geometry.weight_shape) < density
    return weight, rng.standard_normal(geometry.out_channels)


def torch_convolution(
    x: torch.Tensor, weight: Array, bias: Array, geometry: Geometry
) -> torch.Tensor:
    top, left, below, right = geometry.padding
    return functional.conv2d(
        functional.pad(x, (left, right, top, below)),
        torch.from_numpy(weight),
        torch.from_numpy(bias),
        geometry.stride,
        0,
        geometry.dilation,
        geometry.groups,
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_networks_of_any_shape_are_pytorchs_in_float64(data: st.DataObject) -> None:
    """conv, conv, a third conv plus the first's output where the shapes agree, pool, mean."""
    batch = data.draw(st.sampled_from([1, 2, 3, 5]))
    size = (data.draw(st.integers(1, 21)), data.draw(st.integers(1, 21)))
    density = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    threads = data.draw(st.sampled_from([1, 2]))
    images = rng.standard_normal((batch, 3, *size))
    network = OnnxNetwork()
    values: dict[int, torch.Tensor] = {IMAGES: torch.from_numpy(images)}
    for i in range(1, 4):
        x = values[i - 1]
        geometry = data.draw(convolutions(x.shape[1], (x.shape[2], x.shape[3])))
        weight, bias = random_layer(geometry, density, rng)
        act = data.draw(st.sampled_from([NONE, RELU, RELU6]))
        y = torch_convolution(x, weight, bias, geometry)
        same = [value for value, other in values.items() if other.shape == y.shape]
        residual = same[0] if same else None
        if residual is not None:
            y = y + values[residual]
        values[i] = ACTIVATIONS[act](y)
        network.layers[f"layer{i}"] = (weight, bias, geometry)  # type: ignore[assignment]
        network.steps.append(NormStep(i - 1, i, f"layer{i}", act, residual))
    kernel = data.draw(st.integers(1, 3))
    stride, padding = data.draw(st.integers(1, 2)), data.draw(st.integers(0, kernel // 2))
    if min(values[3].shape[2:]) + 2 * padding >= kernel:
        network.steps.append(MaxPoolStep(3, 4, kernel, stride, padding))
        values[4] = functional.max_pool2d(values[3], kernel, stride, padding)
    else:
        network.steps.append(ActStep(3, 4, RELU, 3))
        values[4] = torch.relu(2 * values[3])
    network.steps.append(MeanStep(4, 5))
    network.output = 5
    compiled = PixelNetwork(network, batch, (3, *size), library("float64"), threads)
    expected = values[4].mean((2, 3)).numpy()
    for _ in range(2):  # nothing of the first call may be left over
        found = compiled.run(images)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def resnet_like(rng: np.random.Generator) -> OnnxNetwork:
    """A stem of 7x7, pooling, a residual block and one that halves the plane."""
    network = OnnxNetwork()

    def add(
        inp: int, channels: int, out: int, kernel: int, stride: int = 1, residual: int | None = None
    ) -> int:
        pad = kernel // 2
        geometry = Geometry(out, channels, (kernel, kernel), (stride, stride), (pad,) * 4)
        density = 1.0 if channels == 3 else 0.1
        weight, bias = random_layer(geometry, density, rng)
        value = len(network.steps) + 1
        network.layers[str(value)] = (weight.astype(np.float32), bias.astype(np.float32), geometry)
        network.steps.append(NormStep(inp, value, str(value), RELU, residual))
        return value

    add(IMAGES, 3, 20, 7, 2)
    network.steps.append(MaxPoolStep(1, 2, 3, 2, 1))
    add(2, 20, 20, 3)
    add(3, 20, 20, 3, residual=2)
    add(4, 20, 40, 1, 2)
    add(4, 20, 40, 3, 2, residual=5)
    network.steps.append(MeanStep(6, 7))
    network.output = 7
    return network


@pytest.mark.parametrize("isa", supported_isas())
@pytest.mark.parametrize("batch", [1, 3, 15, 17, 20])
def test_every_batch_gives_each_image_the_same_features(isa: str, batch: int) -> None:
    network = resnet_like(np.random.default_rng(0))
    images = np.random.default_rng(1).standard_normal((batch, 3, 37, 30)).astype(np.float32)
    kernels = library("float32", isa)
    found = SplitNetwork(network, batch, (3, 37, 30), kernels, 2).run(images)
    x = torch.from_numpy(images).double()
    values = {IMAGES: x}
    for step in network.steps[:-1]:
        if isinstance(step, MaxPoolStep):
            values[step.out] = functional.max_pool2d(values[step.inp], 3, 2, 1)
            continue
        assert isinstance(step, NormStep)
        weight, bias, geometry = network.layers[step.layer]
        assert bias is not None
        y = torch_convolution(
            values[step.inp], weight.astype(np.float64), bias.astype(np.float64), geometry
        )
        y = y if step.residual is None else y + values[step.residual]
        values[step.out] = torch.relu(y)
    expected = values[6].mean((2, 3)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_a_nan_stays_in_its_image() -> None:
    network = resnet_like(np.random.default_rng(0))
    images = np.zeros((4, 3, 33, 33), np.float32)
    images[1, 0, 32, 32] = np.nan
    images[2, 2, 0, 0] = np.inf
    found = PixelNetwork(network, 4, (3, 33, 33), library("float32"), 1).run(images)
    assert np.isfinite(found[[0, 3]]).all()
    assert np.isnan(found[1]).any() and not np.isfinite(found[2]).all()


def test_no_part_of_a_batch_is_lost_and_blocks_are_at_least_half_full() -> None:
    for lanes in (4, 8, 16):
        for batch in range(1, 100):
            parts = split_batch(batch, lanes)
            assert sum(count for count, _ in parts) == batch
            for count, layout in parts:
                empty = -count % lanes
                assert count <= lanes // 2 if layout == "pixels" else empty < lanes / 2
