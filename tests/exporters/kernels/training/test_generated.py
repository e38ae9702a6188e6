"""Generated code of training: where it runs, what it stays within, what falls back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import RELU, library
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated import memory
from sparsebench.exporters.kernels.training import generated
from sparsebench.exporters.kernels.training.convolution import Convolution
from sparsebench.exporters.kernels.training.functional import (
    from_blocked,
    sparse_conv2d,
    to_blocked,
)
from sparsebench.models.errors import SparsebenchError
from tests.exporters.kernels.generated.guarded import Guarded

pytestmark = pytest.mark.skipif(
    find_compiler() is None or "avx512" not in supported_isas(), reason="no compiler or AVX-512"
)
GEOMETRY = Geometry(40, 6, (3, 3), (1, 1), (1, 1, 1, 1))


def a_layer(seed: int = 0, threads: int = 1) -> tuple[Convolution, torch.Tensor, torch.Tensor]:
    """A layer, its pattern, and images."""
    torch.manual_seed(seed)
    kept = torch.rand(GEOMETRY.weight_shape) < 0.3
    kernels = library("float32", "avx512")
    return Convolution(kept.numpy(), GEOMETRY, kernels, threads), kept, torch.randn(19, 6, 7, 5)


def output(
    layer: Convolution, images: torch.Tensor, values: torch.Tensor, **rest: object
) -> torch.Tensor:
    x, shape = to_blocked(images, library("float32", "avx512"), 1)
    out = layer.output(shape)
    y = torch.full((out.numel,), float("nan"))
    layer.forward(shape, x, values, y, **rest)  # type: ignore[arg-type]
    return from_blocked(y, out, library("float32", "avx512"), 1)


def expected(
    kept: torch.Tensor, values: torch.Tensor, images: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    weight = torch.zeros(kept.shape).double().masked_scatter(kept, values.double())
    wide = None if bias is None else bias.double()
    return functional.conv2d(images.double(), weight, wide, padding=1)


@pytest.mark.parametrize("threads", [1, 2])
def test_new_values_and_biases_need_no_new_code(threads: int) -> None:
    layer, kept, images = a_layer(threads=threads)
    assert layer.why_not == ""
    for turn in range(3):
        values, bias = torch.randn(int(kept.sum())), torch.randn(40) if turn != 1 else None
        found = output(layer, images, values, bias=bias)
        near = expected(kept, values, images, bias)
        torch.testing.assert_close(found.double(), near, rtol=0, atol=1e-5)


def test_what_else_is_asked_for_runs_on_the_compiled_kernels() -> None:
    layer, kept, images = a_layer()
    values = torch.randn(int(kept.sum()))
    near = expected(kept, values, images, None).clamp_min(0)
    torch.testing.assert_close(
        output(layer, images, values, act=RELU).double(), near, rtol=0, atol=1e-5
    )
    assert output(layer, images, values).min() < 0  # and then code without it


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_it_reads_and_writes_its_tensors_only(data: st.DataObject) -> None:
    draw = data.draw
    stride, side = draw(st.integers(1, 2)), draw(st.integers(5, 9))
    channels = draw(st.sampled_from([(1, 1), (3, 64), (30, 29), (64, 3)]))
    size = draw(st.sampled_from([1, 3]))
    pad = size // 2
    geometry = Geometry(channels[1], channels[0], (size, size), (stride,) * 2, (pad,) * 4)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kept = rng.random(geometry.weight_shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))
    layer = Convolution(kept, geometry, library("float32", "avx512"), 1)
    inp = Blocked(draw(st.sampled_from([33, 40, 64])), channels[0], side, side, 16)
    out, at_end = layer.output(inp), draw(st.booleans())
    values = torch.randn(len(layer))
    x = rng.standard_normal(inp.numel).astype(np.float32)
    found = np.full(out.numel, np.nan, np.float32)
    # What lies behind the last channel's planes is padding that nothing touches.
    ends = [
        shape.channel_stride * (shape.channels - 1) + shape.blocks * shape.plane * 16
        for shape in (inp, out)
    ]
    source, target = (Guarded(a[:end], at_end) for a, end in zip((x, found), ends, strict=True))
    arrays = [torch.from_numpy(one.array) for one in (source, target)]
    layer.forward(inp, arrays[0], values, arrays[1])
    assert layer.why_not == ""
    compiled = Convolution(kept, geometry, library("float32", "avx512"), 1)
    compiled.why_not = "The test compares with the compiled kernels."
    y = torch.from_numpy(found).clone()  # aligned, as the compiled kernels need it
    compiled.forward(inp, torch.from_numpy(x).clone(), values, y)
    near = 2e-5 * max(1.0, float(y.nan_to_num().abs().max()))
    np.testing.assert_allclose(arrays[1], y[: ends[1]], rtol=0, atol=near)


@pytest.mark.parametrize("accumulate", [False, True])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_the_inputs_gradient_is_pytorchs_within_its_tensors(
    data: st.DataObject, accumulate: bool
) -> None:
    draw = data.draw
    small = st.integers(1, 3)
    kernel, stride = (draw(small), draw(small)), (draw(small), draw(small))
    padding = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    groups = draw(st.sampled_from([1, 2]))
    inner, outer = draw(st.sampled_from([(1, 1), (64, 3), (30, 29), (2, 300)]))
    geometry = Geometry(outer * groups, inner * groups, kernel, stride, padding * 2, groups=groups)
    sides = [max(draw(st.integers(1, 7)), kernel[a] - 2 * padding[a]) for a in range(2)]
    inp = Blocked(draw(st.sampled_from([1, 16, 40])), geometry.in_channels, sides[0], sides[1], 16)
    high, wide = geometry.output_size(sides[0], sides[1])
    out = Blocked(inp.images, outer * groups, high, wide, 16)
    torch.manual_seed(draw(st.integers(0, 2**16)))
    kept = torch.rand(geometry.weight_shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))
    values = torch.randn(int(kept.sum()))
    upstream = torch.randn(inp.images, outer * groups, out.height, out.width)
    before = torch.randn(inp.images, geometry.in_channels, *sides)
    kernels = library("float32", "avx512")
    g, x_grad = (to_blocked(one, kernels, 1)[0].numpy() for one in (upstream, before))
    ends = [
        shape.channel_stride * (shape.channels - 1) + shape.blocks * shape.plane * 16
        for shape in (out, inp)
    ]
    at_end = draw(st.booleans())
    tensors = [
        torch.from_numpy(Guarded(a[:end], at_end).array)
        for a, end in zip((g, x_grad), ends, strict=True)
    ]
    pattern = Pattern.of(kept.numpy(), groups)
    code = generated.generated_input_gradient(pattern, geometry, inp, out, accumulate)
    code.fill(values, None)
    code.run(kernels, tensors[0], tensors[1], draw(st.integers(1, 2)))
    whole = torch.zeros(inp.numel)
    whole[: ends[1]] = tensors[1]
    weight = torch.zeros(kept.shape).double().masked_scatter(kept, values.double())
    wide_images = torch.zeros(before.shape, dtype=torch.float64, requires_grad=True)
    expected_output = functional.conv2d(wide_images, weight, None, stride, padding, groups=groups)
    torch.autograd.backward(expected_output, upstream.double())
    assert wide_images.grad is not None
    wanted = wide_images.grad + before if accumulate else wide_images.grad
    found = from_blocked(whole, inp, kernels, 1).double()
    near = 2e-5 * max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found, wanted, rtol=0, atol=near)


def test_sums_that_pass_through_the_target_are_added_to_it_once() -> None:
    geometry = Geometry(300, 2, (3, 3), padding=(1, 1, 1, 1))
    kernels = library("float32", "avx512")
    torch.manual_seed(0)
    upstream, before = torch.randn(16, 300, 7, 5), torch.randn(16, 2, 7, 5)
    (g, out), (x_grad, inp) = (to_blocked(one, kernels, 1) for one in (upstream, before))
    pattern = Pattern.of(np.ones(geometry.weight_shape, np.bool_), 1)
    code = generated.generated_input_gradient(pattern, geometry, inp, out, True)
    assert code.parts[0][1].c.chain > 1
    values = torch.randn(300, 2, 3, 3)
    code.fill(values.flatten(), None)
    code.run(kernels, g, x_grad, 1)
    wanted = functional.conv_transpose2d(upstream.double(), values.double(), padding=1) + before
    found = from_blocked(x_grad, inp, kernels, 1).double()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def gradients(
    layer: Convolution, images: torch.Tensor, values: torch.Tensor, inputs: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the sum of the squared outputs, to the images (where wanted) and to the values."""
    own, weights = images.clone().requires_grad_(inputs), values.clone().requires_grad_()
    out = sparse_conv2d(own, weights, layer, library("float32", "avx512"))
    torch.autograd.backward(out, out.detach())
    assert weights.grad is not None
    return (own.grad if own.grad is not None else images, weights.grad)


def test_each_backward_pass_says_which_code_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    kernels = library("float32", "avx512")
    images, few = torch.randn(64, 6, 7, 5), torch.randn(16, 6, 7, 5)
    for density, path in ((0.3, "generated"), (0.1, "compiled")):
        kept = torch.rand(GEOMETRY.weight_shape) < density
        layer = Convolution(kept.numpy(), GEOMETRY, kernels, 1)
        values = torch.randn(int(kept.sum()))
        found = gradients(layer, images, values)
        assert layer.backward_path == path
        alone = gradients(layer, images, values, inputs=False)
        assert layer.backward_path == "generated"
        gradients(layer, few, values)
        assert layer.backward_path == "generated+compiled"
        plain = Convolution(kept.numpy(), GEOMETRY, kernels, 1)
        monkeypatch.setattr(plain, "_generated", lambda inp: None)
        near = gradients(plain, images, values)
        assert plain.backward_path == "compiled"
        for mine, theirs in (*zip(found, near, strict=True), (alone[1], near[1])):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5 * float(theirs.abs().max()))


def test_no_memory_for_the_backward_pass_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, kept, _ = a_layer()
    images, values = torch.randn(64, 6, 7, 5), torch.randn(int(kept.sum()))
    near = gradients(layer, images, values)
    again = a_layer()[0]
    output(again, images, values)  # has its code

    def refused(start: int, size: int) -> None:
        raise SparsebenchError("There is no memory for generated code.", "")

    monkeypatch.setattr(memory, "_protect", refused)
    found = gradients(again, images, values)
    assert (layer.backward_path, again.backward_path) == ("generated", "compiled")
    assert again.why_not == ""  # of the forward pass
    for mine, theirs in zip(found, near, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5 * float(theirs.abs().max()))


def test_where_code_may_not_run_the_compiled_kernels_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(start: int, size: int) -> None:
        raise SparsebenchError("This system does not run generated code.", "")

    layer, kept, images = a_layer()
    monkeypatch.setattr(memory, "_protect", refused)
    values = torch.randn(int(kept.sum()))
    near = expected(kept, values, images, None)
    torch.testing.assert_close(output(layer, images, values).double(), near, rtol=0, atol=1e-5)
    assert layer.why_not == "This system does not run generated code."
    monkeypatch.undo()
    small, _, _ = a_layer()
    output(small, images[:, :, :3, :2], values)
    assert "fewer than 16" in small.why_not
    output(small, images, values)
    assert small.why_not == ""
    monkeypatch.setattr(generated, "_MOST", 10)
    assert "more than 10" in a_layer()[0].why_not
