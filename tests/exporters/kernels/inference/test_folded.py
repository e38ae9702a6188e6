"""Planes folded into a register's lanes: against PyTorch in float64, and the folds themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, library
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
)
from sparsebench.exporters.kernels.inference.folded_network import FoldedNetwork
from sparsebench.exporters.kernels.inference.folding import Fold, Folded, border_moves, folds
from sparsebench.exporters.kernels.inference.grouping import Grouping
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.thinning import thin_inputs
from tests.exporters.kernels.inference.test_pixels import random_layer, torch_convolution

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


def expected_of(network: OnnxNetwork, images: np.ndarray) -> np.ndarray:
    """The same steps by PyTorch in float64."""
    values = {IMAGES: torch.from_numpy(images).double()}
    for step in network.steps:
        x = values[step.inp]
        if isinstance(step, MaxPoolStep):
            y = functional.max_pool2d(x, step.kernel, step.stride, step.padding)
        elif isinstance(step, MeanStep):
            y = x.mean((2, 3))
        else:
            if isinstance(step, NormStep):
                weight, bias, geometry = network.layers[step.layer]
                assert bias is not None
                x = torch_convolution(
                    x, weight.astype(np.float64), bias.astype(np.float64), geometry
                )
            assert isinstance(step, NormStep | ActStep)
            y = x if step.residual is None else x + values[step.residual]
            y = torch.relu(y) if step.act == RELU else y
        values[step.out] = y
    found: np.ndarray = values[network.output].numpy()
    return found


class Maker:
    """A network made layer by layer."""

    def __init__(self, rng: np.random.Generator, density: float) -> None:
        self.network, self._rng, self._density = OnnxNetwork(), rng, density

    def layer(
        self,
        inp: int,
        channels: tuple[int, int],
        kernel: int,
        stride: int = 1,
        residual: int | None = None,
        **more: int,
    ) -> int:
        """A convolution; `more`: padding, dilation, groups."""
        dilation, groups = more.get("dilation", 1), more.get("groups", 1)
        pad = more.get("padding", dilation * (kernel // 2))
        pairs = ((kernel, kernel), (stride, stride), (pad,) * 4, (dilation, dilation))
        geometry = Geometry(channels[1], channels[0], *pairs, groups)
        out = len(self.network.steps) + 1
        weight, bias = random_layer(geometry, self._density, self._rng)
        self.network.layers[str(out)] = (weight, bias, geometry)  # type: ignore[assignment]
        self.network.steps.append(NormStep(inp, out, str(out), RELU, residual))
        return out

    def pool(self, inp: int, kernel: int = 3, stride: int = 2, padding: int = 1) -> int:
        """A maximum."""
        out = len(self.network.steps) + 1
        self.network.steps.append(MaxPoolStep(inp, out, kernel, stride, padding))
        return out

    def mean(self, inp: int) -> OnnxNetwork:
        """The end."""
        self.network.output = len(self.network.steps) + 1
        self.network.steps.append(MeanStep(inp, self.network.output))
        return self.network


def bottlenecks(rng: np.random.Generator, density: float = 0.3) -> OnnxNetwork:
    """A stem, a pool, two blocks that halve the plane with 1x1 side branches, an addition."""
    make = Maker(rng, density)
    x = make.pool(make.layer(IMAGES, (3, 6), 7, 2))
    for channels in (6, 12):
        side = make.layer(x, (channels, 2 * channels), 1, 2)
        y = make.layer(x, (channels, 5), 1)
        y = make.layer(y, (5, 5), 3, 2)
        x = make.layer(y, (5, 2 * channels), 1, residual=side)
    network = make.network
    out = len(network.steps) + 1
    network.steps.append(ActStep(x, out, NONE, x))
    return make.mean(make.layer(out, (24, 7), 3, residual=None))


@pytest.mark.parametrize("isa", supported_isas())
@pytest.mark.parametrize(
    ("size", "batch", "threads"), [(64, 1, 1), (64, 13, 2), (128, 5, 2), (32, 70, 2), (96, 17, 3)]
)
def test_folded_planes_give_the_features_of_whole_ones(
    isa: str, size: int, batch: int, threads: int
) -> None:
    network = bottlenecks(np.random.default_rng(0))
    images = np.random.default_rng(1).standard_normal((batch, 3, size, size)).astype(np.float32)
    compiled = FoldedNetwork(network, batch, (3, size, size), library("float32", isa), threads)
    expected = expected_of(network, images)
    for _ in range(2):  # nothing of the first call may be left over
        found = compiled.run(images)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_layers_on_foldable_planes_are_pytorchs_in_float64(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([(8, 8), (16, 24), (32, 16), (20, 40), (9, 16), (64, 8)]))
    batch = data.draw(st.sampled_from([1, 3, 8, 11, 33]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    make = Maker(rng, data.draw(st.sampled_from([0.0, 0.15, 1.0])))
    x, channels = IMAGES, 3
    for _ in range(3):
        kernel = data.draw(st.sampled_from([1, 2, 3, 5]))
        dilation = data.draw(st.integers(1, 2))
        groups = data.draw(st.sampled_from([1, channels]))
        out = groups * data.draw(st.integers(1, 4))
        stride = data.draw(st.integers(1, 3))
        x = make.layer(
            x, (channels, out), kernel, stride, None,
            padding=dilation * (kernel - 1), dilation=dilation, groups=groups,
        )  # fmt: skip
        channels = out
    x = make.pool(x, *data.draw(st.sampled_from([(3, 2, 1), (2, 1, 1), (1, 1, 0)])))
    network = make.mean(make.layer(x, (channels, 4), 3))
    images = rng.standard_normal((batch, 3, *size))
    threads = data.draw(st.sampled_from([1, 2]))
    compiled = FoldedNetwork(network, batch, (3, *size), library("float64"), threads)
    expected = expected_of(network, images)
    found = compiled.run(images)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_a_nan_stays_in_its_image() -> None:
    network = bottlenecks(np.random.default_rng(0), density=0.9)
    images = np.zeros((6, 3, 64, 64), np.float32)
    images[1, 0, 63, 63] = np.nan
    images[4, 2, 0, 0] = np.inf
    found = FoldedNetwork(network, 6, (3, 64, 64), library("float32"), 2).run(images)
    assert np.isfinite(found[[0, 2, 3, 5]]).all()
    assert np.isnan(found[1]).any() and not np.isfinite(found[4]).all()


def test_the_time_of_every_layer_is_told() -> None:
    network = bottlenecks(np.random.default_rng(0))
    compiled = FoldedNetwork(network, 5, (3, 64, 64), library("float32"), 2)
    told: dict[str, float] = {}
    images = np.zeros((5, 3, 64, 64), np.float32)
    compiled.run(images, lambda name, kind, s: told.__setitem__(name, told.get(name, 0.0) + s))
    assert set(network.layers) <= set(told) and all(told[name] > 0 for name in network.layers)


def test_large_planes_take_few_images_and_groups_grow() -> None:
    network = bottlenecks(np.random.default_rng(0))
    grouping = Grouping(network, 64, (3, 224, 224), 16, 4)
    groups = [part.group for part in grouping.parts]
    assert groups == sorted(set(groups)) and groups[0] == 1
    assert [step for part in grouping.parts for step in part.steps] != []
    assert sum(len(part.steps) for part in grouping.parts) == len(network.steps)
    for part in grouping.parts:
        for step in part.steps:
            for value in (step.inp, step.residual):
                assert value is None or grouping.made_in[value] <= part.group


@pytest.mark.parametrize("plane", [(10, 12), (8, 11)])
def test_folds_use_all_lanes_and_the_borders_hold_the_neighbours(plane: tuple[int, int]) -> None:
    for lanes in (4, 8, 16):
        for fold in folds(lanes):
            assert fold.images * fold.down * fold.across == lanes
    shape = Folded(Fold(4, 2, 2), 1, 5, 6, plane, 2, 16)
    images = np.arange(1, 4 * 10 * 12 + 1, dtype=np.float64).reshape(4, 10, 12)
    memory = np.zeros(shape.bytes // 4)
    image, y, x = shape.pixel()
    places = shape.lead + shape.places()[0][:, None] + np.arange(16)
    memory[places] = images[image, y, x]
    np.testing.assert_array_equal(
        memory[shape.lead + shape.locate(y, x, np.broadcast_to(image, y.shape))],
        images[image, y, x],
    )
    moves, permutations = border_moves(shape)
    for to, source, k in moves:
        lanes_there = np.append(memory[shape.lead + source :][:16], 0.0)
        memory[shape.lead + to :][:16] = lanes_there[permutations[k]]
    images[:, plane[0] :] = 0  # outside of the plane
    images[:, :, plane[1] :] = 0
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    whole = memory[: 9 * shape.row_stride].reshape(9, -1, 16)
    for lane in range(16):
        down, across = lane // 2 % 2, lane % 2
        piece = padded[lane // 4, 5 * down :, 6 * across :][:9, :10]
        np.testing.assert_array_equal(whole[:, :10, lane], piece)


def test_thinned_layers_read_the_same_pixels() -> None:
    network = bottlenecks(np.random.default_rng(3))
    images = np.random.default_rng(1).standard_normal((2, 3, 40, 40))
    thin = thin_inputs(network)
    strides = [g.stride for _, _, g in thin.layers.values() if g.kernel == (1, 1)]
    assert set(strides) == {(1, 1)} and len(thin.steps) == len(network.steps) + 2
    np.testing.assert_allclose(expected_of(thin, images), expected_of(network, images), rtol=1e-12)
