"""Layers of bytes in guarded memory: sums exact against int64, outputs rounded as defined."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6, CCall, library
from sparsebench.exporters.kernels.generated.byte_convolution import (
    ByteConvolution,
    ByteWeights,
    Steps,
    fours,
)
from sparsebench.exporters.kernels.generated.memory import CodeMemory, no_bytes
from sparsebench.exporters.kernels.inference.folded_calls import GENERATED
from sparsebench.models.errors import SparsebenchError
from tests.exporters.kernels.generated.guarded import Guarded
from tests.exporters.kernels.generated.test_convolution import planes_of

pytestmark = pytest.mark.skipif(
    find_compiler() is None or no_bytes() != "", reason="no compiler or AVX512_VNNI"
)


def in_fours(x: np.ndarray) -> np.ndarray:
    """uint8 ``[B, H, W, C, 16]`` as the code reads it, ``[B, H, W, C / 4, 16, 4]``."""
    blocks, height, width, channels, lanes = x.shape
    whole = np.full((blocks, height, width, 4 * fours(channels), lanes), 77, np.uint8)
    whole[..., :channels, :] = x
    return np.ascontiguousarray(
        np.moveaxis(whole.reshape(blocks, height, width, -1, 4, lanes), 4, 5)
    )


def out_of_fours(y: np.ndarray, channels: int) -> np.ndarray:
    """The inverse."""
    found: np.ndarray = np.moveaxis(y, 5, 4).reshape(*y.shape[:3], -1, y.shape[4])
    return found[..., :channels, :]


def sums_of(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, geometry: Geometry, zero: int
) -> np.ndarray:
    """What ConvInteger and an addition are defined to be, in int64.

    Args:
        x: uint8 ``[B, H, W, C, 16]``.
        weight: int8 ``[O, C / groups, kh, kw]``.
    """
    top, left, below, right = geometry.padding
    centred = np.pad(
        x.astype(np.int64) - zero, ((0, 0), (top, below), (left, right), (0, 0), (0, 0))
    )
    height, width = geometry.output_size(*x.shape[1:3])
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    inner, outer = weight.shape[1], len(weight) // geometry.groups
    found = np.zeros((x.shape[0], height, width, len(weight), 16), np.int64)
    for ky, kx in np.ndindex(*geometry.kernel):
        seen = centred[:, ky * dy :: sy, kx * dx :: sx][:, :height, :width]
        for g in range(geometry.groups):
            outs, ins = (slice(g * n, (g + 1) * n) for n in (outer, inner))
            taps = weight[outs, :, ky, kx].astype(np.int64)
            found[..., outs, :] += np.einsum("oc,bhwcl->bhwol", taps, seen[..., ins, :])
    found += bias[:, None]
    return found


def run_layer(
    layer: ByteConvolution,
    x: Guarded,
    lead: int,
    out: np.ndarray,
    added: Guarded | None = None,
    at_end: bool = True,
    threads: int = 1,
) -> np.ndarray:
    code = CodeMemory(layer.functions)
    layer.place(code.addresses)
    found = Guarded(out, at_end)
    table = np.array([x.address + lead, found.address, added.address if added else 0], np.uint64)
    call = CCall(GENERATED, 0, 0, 1, 2 if added else -1, ctypes.addressof(layer.c))
    library().run(ctypes.byref(call), 1, table.ctypes.data, 1, 3, 1, threads, None)
    return found.array


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_sums_are_exact_and_rounded_as_defined(data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (7, 7), (2, 5)]))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 1, 3]))
    inner, outer = draw(st.sampled_from([(1, 1), (3, 30), (64, 9), (5, 60), (40, 112)]))
    size = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    halo = draw(st.sampled_from([0, max(kernel) // 2 * dilation]))
    zero = draw(st.sampled_from([0, 0, 1, 128, 255])) if halo or kernel == (1, 1) else 0
    blocks = 1 if halo else draw(st.integers(1, 3))
    pads = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    geometry = Geometry(
        outer * groups, inner * groups, kernel, (stride, stride), (*pads, *pads),
        (dilation, dilation), groups,
    )  # fmt: skip
    try:
        high, wide = geometry.output_size(*size)
    except SparsebenchError:
        return  # smaller than the kernel
    for i, end in enumerate((high, wide)):
        if halo and stride * (end - 1) + dilation * (kernel[i] - 1) - pads[i] >= size[i] + halo:
            return  # such a border is not one that a network's fold would have
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.integers(-127, 128, geometry.weight_shape, np.int8)
    weight *= rng.random(weight.shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    if draw(st.booleans()):  # what would saturate 16 bits
        weight[weight != 0], weight[weight < 0] = 127, -128
    count = geometry.out_channels
    bias = rng.integers(-5000, 5000, count, np.int32)
    shape = (blocks, size[0] + 2 * halo, size[1] + 2 * halo, geometry.in_channels, 16)
    x = np.full(shape, zero, np.uint8)
    inside = (slice(None), slice(halo, halo + size[0]), slice(halo, halo + size[1]))
    x[inside] = rng.integers(draw(st.sampled_from([0, 250])), 256, x[inside].shape, np.uint8)
    sums = sums_of(x[inside], weight, bias, geometry, zero)
    in_planes = planes_of(fours(geometry.in_channels), *size, halo, blocks)

    residual = draw(st.sampled_from(["", "bytes", "floats"]))
    out_bytes = draw(st.booleans())
    act = draw(st.sampled_from([NONE, RELU, RELU6]))
    out_zero = draw(st.sampled_from([0, 0, 3, 200])) if out_bytes else 0
    scale = ((rng.random(count) + 0.5) / 1000).astype(np.float32)
    step, residual_step, residual_zero = 0.02, 0.013, draw(st.sampled_from([0, 40]))
    padded = 4 * fours(count)
    y = sums.astype(np.float32) * scale[:, None]
    added = None
    at_end = draw(st.booleans())
    if residual == "bytes":
        given_ = rng.integers(0, 256, sums.shape, np.uint8)
        y = y + (given_.astype(np.float32) - residual_zero) * np.float32(residual_step)
        added = Guarded(in_fours(given_), at_end)
    elif residual == "floats":
        given_ = rng.standard_normal((*sums.shape[:3], padded, 16)).astype(np.float32)
        y = y + given_[..., :count, :]
        added = Guarded(given_, at_end)
    y = y if act == NONE else np.maximum(y, 0)
    y = np.minimum(y, 6) if act == RELU6 else y
    out_planes = planes_of(fours(count) if out_bytes else padded, high, wide, 0, blocks)
    steps = Steps(
        act, step if out_bytes else None, out_zero, residual, residual_step, residual_zero
    )
    weights = ByteWeights.of(weight, bias, scale, geometry, zero)
    layer = ByteConvolution(weights, geometry, zero, in_planes, out_planes, steps)
    lead = 64 * fours(geometry.in_channels) * (halo * (size[1] + 2 * halo) + halo)
    more = (at_end, draw(st.sampled_from([1, 2])))
    empty: np.ndarray
    source = Guarded(in_fours(x), at_end)
    if out_bytes:
        empty = np.zeros((blocks, high, wide, fours(count), 16, 4), np.uint8)
        found = out_of_fours(run_layer(layer, source, lead, empty, added, *more), count)
        exact = y.astype(np.float64) / step
        expected = np.clip(np.rint(exact) + out_zero, 0, 255)
        near_half = np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 1e-3
        wrong = found != expected
        assert not (wrong & ~near_half).any()
        assert (np.abs(found.astype(int) - expected)[wrong] == 1).all()
    else:
        empty = np.full((blocks, high, wide, padded, 16), np.nan, np.float32)
        found = run_layer(layer, source, lead, empty, added, *more)[..., :count, :]
        np.testing.assert_allclose(found, y, rtol=0, atol=1e-6 * max(1, np.abs(y).max()))

    # The sums alone: exact, as long as float32 holds them.
    plain = ByteWeights.of(weight, bias, np.ones(count, np.float32), geometry, zero)
    out_planes = planes_of(padded, high, wide, 0, blocks)
    layer = ByteConvolution(plain, geometry, zero, in_planes, out_planes, Steps(NONE))
    empty = np.full((blocks, high, wide, padded, 16), np.nan, np.float32)
    found = run_layer(layer, source, lead, empty, None, *more)[..., :count, :]
    assert np.array_equal(found, sums.astype(np.float32))


def test_products_of_the_largest_bytes_saturate_nowhere() -> None:
    """255 x -128 four times over is beyond 16 bits; 4096 such products are summed."""
    geometry = Geometry(4, 4096, (1, 1))
    for value in (-128, 127):
        weight = np.full(geometry.weight_shape, value, np.int8)
        bias = np.array([0, 1, -1, 2], np.int32)
        layer = ByteConvolution(
            ByteWeights.of(weight, bias, np.ones(4, np.float32), geometry, 0), geometry, 0,
            planes_of(1024, 1, 1, 0, 1), planes_of(4, 1, 1, 0, 1), Steps(NONE),
        )  # fmt: skip
        x = Guarded(np.full((1, 1, 1, 1024, 16, 4), 255, np.uint8), True)
        empty = np.zeros((1, 1, 1, 4, 16), np.float32)
        found = run_layer(layer, x, 0, empty)
        expected = (4096 * 255 * value + bias).astype(np.float32)
        assert (found[0, 0, 0] == expected[:, None]).all()


def test_values_beyond_32_bits_are_the_largest_byte() -> None:
    geometry = Geometry(4, 400, (1, 1))
    weight = np.full(geometry.weight_shape, 127, np.int8)
    weight[1] = -127
    layer = ByteConvolution(
        ByteWeights.of(weight, np.zeros(4, np.int32), np.full(4, 1e5, np.float32), geometry, 0),
        geometry, 0, planes_of(100, 1, 1, 0, 1), planes_of(1, 1, 1, 0, 1), Steps(NONE, 1e-3),
    )  # fmt: skip
    x = Guarded(np.full((1, 1, 1, 100, 16, 4), 255, np.uint8), True)
    empty = np.zeros((1, 1, 1, 1, 16, 4), np.uint8)
    found = run_layer(layer, x, 0, empty)
    assert found[0, 0, 0, 0].tolist() == [[255, 0, 255, 255]] * 16


def test_sums_that_may_overflow_are_refused() -> None:
    geometry = Geometry(4, 70000, (1, 1))
    weight = np.full(geometry.weight_shape, 127, np.int8)
    with pytest.raises(SparsebenchError, match="70000 products of bytes can leave"):
        ByteWeights.of(weight, np.zeros(4, np.int32), np.ones(4, np.float32), geometry, 0)


@pytest.mark.parametrize(("block", "share"), [(4, 0.1), (1, 1 - 0.9**4)])
def test_an_instruction_is_issued_for_each_four_that_holds_a_weight(
    block: int, share: float
) -> None:
    """What blocks of four save, and what single zeros do not."""
    rng = np.random.default_rng(0)
    geometry = Geometry(64, 256, (3, 3), padding=(1, 1, 1, 1))
    kept = rng.random((64, 256 // block, 3, 3)) < 0.1
    weight = (np.repeat(kept, block, 1) * 5).astype(np.int8)
    layer = ByteConvolution(
        ByteWeights.of(weight, np.zeros(64, np.int32), np.ones(64, np.float32), geometry, 0),
        geometry, 0, planes_of(64, 4, 4, 1, 1), planes_of(16, 4, 4, 0, 1), Steps(RELU, 1.0),
    )  # fmt: skip
    assert layer.multiply_adds / (16 * 64 * 64 * 9) == pytest.approx(share, rel=0.05)
