"""Generated forward passes of training: where they run, what they stay within, what falls back."""

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
from sparsebench.exporters.kernels.generated import memory
from sparsebench.exporters.kernels.training import generated
from sparsebench.exporters.kernels.training.convolution import Convolution
from sparsebench.exporters.kernels.training.functional import from_blocked, to_blocked
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
    layer: Convolution, images: torch.Tensor, values: torch.Tensor | None, **rest: object
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
    again = output(layer, images, None, bias=torch.ones(40))  # the last values, another bias
    near = expected(kept, values, images, torch.ones(40))
    torch.testing.assert_close(again.double(), near, rtol=0, atol=1e-5)


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
