"""The kernels against PyTorch's own convolution in float64, over whatever shapes there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from exporters.kernels.build import find_compiler, supported_isas
from exporters.kernels.convolution import Convolution
from exporters.kernels.functional import sparse_conv2d
from exporters.kernels.geometry import Geometry
from exporters.kernels.library import library

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


@st.composite
def cases(draw: st.DrawFn) -> dict[str, object]:
    groups = draw(st.sampled_from([1, 1, 1, 2, 4]))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)) | st.just((7, 7)))
    return {
        "batch": draw(st.sampled_from([1, 2, 3, 7, 8, 9, 16, 17, 33])),
        "groups": groups,
        "inner": draw(st.integers(1, 6)),
        "outer": draw(st.integers(1, 5)),
        "kernel": kernel,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": draw(st.tuples(*[st.integers(0, 3)] * 2)),
        "dilation": draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (2, 3)])),
        "size": draw(st.tuples(st.integers(1, 19), st.integers(1, 19))),
        "density": draw(st.sampled_from([0.0, 0.05, 0.3, 1.0])),
        "seed": draw(st.integers(0, 2**16)),
    }


def compare(case: dict[str, object], isa: str, threads: int, dtype: torch.dtype, rtol: float) -> None:
    groups, inner, outer = case["groups"], case["inner"], case["outer"]
    kernel, padding = case["kernel"], case["padding"]
    generator = torch.Generator().manual_seed(case["seed"])  # type: ignore[arg-type]
    geometry = Geometry(
        outer * groups,  # type: ignore[operator]
        inner * groups,  # type: ignore[operator]
        kernel,  # type: ignore[arg-type]
        case["stride"],  # type: ignore[arg-type]
        (*padding, *padding),  # type: ignore[misc]
        case["dilation"],  # type: ignore[arg-type]
        groups,  # type: ignore[arg-type]
    )
    height, width = case["size"]  # type: ignore[misc]
    for axis in range(2):  # a plane at least as large as the kernel
        reach = geometry.dilation[axis] * (geometry.kernel[axis] - 1) + 1 - 2 * padding[axis]  # type: ignore[index]
        if axis == 0:
            height = max(height, reach)
        else:
            width = max(width, reach)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    kept = torch.rand(geometry.weight_shape, generator=generator) < case["density"]
    if geometry.out_channels > 1:
        kept[0] = False  # an output without a weight
    weight = (random(*geometry.weight_shape) * kept).requires_grad_()
    images = random(case["batch"], geometry.in_channels, height, width).requires_grad_()  # type: ignore[arg-type]
    expected = functional.conv2d(
        images, weight, None, geometry.stride, padding, geometry.dilation, groups  # type: ignore[arg-type]
    )
    upstream = random(*expected.shape)
    expected.backward(upstream)

    kernels = library(str(dtype).removeprefix("torch."), isa)
    layer = Convolution(kept.numpy(), geometry, kernels, threads)
    values = weight.detach()[kept].clone().requires_grad_()
    own = images.detach().clone().requires_grad_()
    out = sparse_conv2d(own, values, layer, kernels)
    out.backward(upstream)
    # A row of zeros has no scale of its own: errors are measured against the largest value.
    for mine, theirs in (
        (out, expected),
        (own.grad, images.grad),
        (values.grad, weight.grad[kept]),  # type: ignore[index]
    ):
        assert mine is not None and theirs is not None and mine.shape == theirs.shape
        scale = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
        np.testing.assert_allclose(
            mine.detach().numpy(), theirs.detach().numpy(), rtol=0, atol=rtol * (scale + 1e-30)
        )
    # Without a gradient to the images another kernel gives the weights' gradient.
    again = values.detach().clone().requires_grad_()
    sparse_conv2d(images.detach(), again, layer, kernels).backward(upstream)
    assert again.grad is not None
    scale = float(values.grad.abs().max()) if len(layer) else 0.0  # type: ignore[union-attr]
    np.testing.assert_allclose(again.grad, values.grad, rtol=0, atol=rtol * (scale + 1e-30))


@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=cases())
def test_every_gradient_is_pytorchs_in_float64(case: dict[str, object], threads: int) -> None:
    compare(case, supported_isas()[0], threads, torch.float64, 1e-12)
