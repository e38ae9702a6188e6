"""The kernels against PyTorch's own convolution in float64, over whatever shapes there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.training.convolution import Convolution
from sparsebench.exporters.kernels.training.functional import sparse_conv2d

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


@dataclass(frozen=True)
class Case:
    """A convolution, its input and the share of weights that is kept."""

    batch: int = 17
    groups: int = 1
    inner: int = 5
    outer: int = 4
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (8, 8)
    density: float = 0.3
    seed: int = 0


CASES = st.builds(
    Case,
    batch=st.sampled_from([1, 2, 3, 7, 8, 9, 16, 17, 33]),
    groups=st.sampled_from([1, 1, 1, 2, 4]),
    inner=st.integers(1, 6),
    outer=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)) | st.just((7, 7)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)]),
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    seed=st.integers(0, 2**16),
)


def compare(case: Case, isa: str, threads: int, dtype: torch.dtype, tolerance: float) -> None:
    """Forward and all gradients, errors measured against the largest value."""
    generator = torch.Generator().manual_seed(case.seed)
    geometry = Geometry(
        case.outer * case.groups,
        case.inner * case.groups,
        case.kernel,
        case.stride,
        (*case.padding, *case.padding),
        case.dilation,
        case.groups,
    )
    # A plane at least as large as the kernel.
    height, width = (
        max(case.size[a], case.dilation[a] * (case.kernel[a] - 1) + 1 - 2 * case.padding[a])
        for a in range(2)
    )

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    kept = torch.rand(geometry.weight_shape, generator=generator) < case.density
    if geometry.out_channels > 1:
        kept[0] = False  # an output without a weight
    weight = (random(*geometry.weight_shape) * kept).requires_grad_()
    images = random(case.batch, geometry.in_channels, height, width).requires_grad_()
    expected = functional.conv2d(
        images, weight, None, case.stride, case.padding, case.dilation, case.groups
    )
    upstream = random(*expected.shape)
    torch.autograd.backward(expected, upstream)
    assert weight.grad is not None and images.grad is not None

    kernels = library(str(dtype).removeprefix("torch."), isa)
    layer = Convolution(kept.numpy(), geometry, kernels, threads)
    values = weight.detach()[kept].to(dtype).requires_grad_()
    own = images.detach().to(dtype).requires_grad_()
    out = sparse_conv2d(own, values, layer, kernels)
    torch.autograd.backward(out, upstream.to(dtype))
    # Without a gradient to the images another kernel gives the weights' gradient.
    again = values.detach().clone().requires_grad_()
    torch.autograd.backward(sparse_conv2d(own.detach(), again, layer, kernels), upstream.to(dtype))
    for mine, theirs in (
        (out, expected),
        (own.grad, images.grad),
        (values.grad, weight.grad[kept]),
        (again.grad, weight.grad[kept]),
    ):
        assert mine is not None and mine.shape == theirs.shape
        scale = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
        np.testing.assert_allclose(
            mine.detach().double().numpy(),
            theirs.detach().numpy(),
            rtol=0,
            atol=tolerance * (scale + 1e-30),
        )


@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=CASES)
def test_every_gradient_is_pytorchs_in_float64(case: Case, threads: int) -> None:
    compare(case, supported_isas()[0], threads, torch.float64, 1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=CASES)
def test_float32_differs_by_rounding_only(case: Case) -> None:
    compare(case, supported_isas()[0], 2, torch.float32, 2e-5)


@pytest.mark.parametrize("isa", supported_isas()[1:])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=CASES)
def test_other_instruction_sets_compute_the_same(isa: str, case: Case) -> None:
    compare(case, isa, 1, torch.float32, 2e-5)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8, 14, 16, 28, 32])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_planes_of_real_networks(side: int, stride: int) -> None:
    case = Case(batch=64, size=(side, side), stride=(stride, stride))
    compare(case, supported_isas()[0], 2, torch.float32, 2e-5)
    compare(case, supported_isas()[0], 1, torch.float64, 1e-12)


def test_batches_that_fill_as_many_blocks_share_a_plan() -> None:
    # Compiling a plan takes longer than a step; an epoch's last batch is of any size.
    kernels = library("float32", supported_isas()[0])
    lanes = kernels.lanes
    kept = torch.ones(4, 3, 3, 3, dtype=torch.bool)
    kept[:, 1] = False
    weight = torch.randn(4, 3, 3, 3) * kept
    layer = Convolution(kept.numpy(), Geometry(4, 3, (3, 3), (1, 1), (1,) * 4, (1, 1)), kernels, 1)
    plans = []
    for batch in (lanes + 1, 2 * lanes, 2 * lanes + 1):
        images = torch.randn(batch, 3, 6, 5)
        out = sparse_conv2d(images, weight[kept], layer, kernels)
        np.testing.assert_allclose(
            out, functional.conv2d(images, weight, padding=1), rtol=0, atol=1e-5
        )
        plans.append(len(layer._plans))
    assert plans == [1, 1, 2]
