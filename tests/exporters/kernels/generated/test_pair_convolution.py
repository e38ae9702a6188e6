"""Layers that read or write bf16, in guarded memory, called as networks call them."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.kernels.compiled.build import chosen_isa, find_compiler
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6, CCall, library
from sparsebench.exporters.kernels.generated.memory import CodeMemory, no_pairs_of_channels
from sparsebench.exporters.kernels.generated.pair_convolution import PairConvolution, Stored
from sparsebench.exporters.kernels.inference.folded_calls import GENERATED
from sparsebench.models.errors import SparsebenchError
from tests.exporters.kernels.generated.guarded import Guarded
from tests.exporters.kernels.generated.test_convolution import planes_of

pytestmark = pytest.mark.skipif(
    find_compiler() is None or no_pairs_of_channels(chosen_isa()) != "",
    reason="no compiler or AVX-512",
)
LAST_BIT = 2.0**-8  # half of the last one that bf16 keeps, as a share of the number


def packed(values: np.ndarray) -> np.ndarray:
    """``[..., C, lanes]``, not negative, as ``[..., C / 2, lanes]`` of pairs; cut off, not rounded:
    the lower half is a part of the even channel as it is read."""
    bits = values.astype(np.float32).view(np.uint32) >> 16
    pairs: np.ndarray = (bits[..., ::2, :] << 16 | bits[..., 1::2, :]).view(np.float32)
    return pairs


def unpacked(pairs: np.ndarray) -> np.ndarray:
    """What such lanes mean, float32; below the normal numbers: zero."""
    bits = np.ascontiguousarray(pairs).view(np.uint32)
    lanes = np.stack([bits, bits << 16], axis=-2)
    found = lanes.reshape(*pairs.shape[:-2], -1, pairs.shape[-1]).view(np.float32)
    return np.where(np.abs(found) < np.finfo(np.float32).tiny, np.float32(0), found)


def run(layer: PairConvolution, tensors: list[Guarded], lead: int, threads: int = 1) -> None:
    """Input, output and residual of a layer whose code is placed first."""
    code = CodeMemory(layer.functions)
    layer.place(code.addresses)
    table = np.array([t.address for t in tensors], np.uint64)
    table[0] += np.uint64(lead)
    residual = 2 if len(tensors) > 2 else -1
    call = CCall(GENERATED, 0, 0, 1, residual, ctypes.addressof(layer.c))
    library(isa="avx512").run(
        ctypes.byref(call), 1, table.ctypes.data, 1, len(tensors), 1, threads, None
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_layer_is_float64s_within_bf16_and_stays_in_its_memory(data: st.DataObject) -> None:
    draw = data.draw
    stored = Stored(
        draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(["", "floats", "pairs"]))
    )
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (7, 7), (2, 5)]))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 6]))
    odd = (not stored.inp and groups == 1) and draw(st.booleans())
    inner, outer = draw(st.sampled_from([(2, 2), (4, 30), (300, 10), (6, 60), (700, 30)]))
    if groups > 1:
        inner = outer = draw(st.sampled_from([1, 3]))
    size = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    halo = draw(st.sampled_from([0, 0, max(kernel) // 2 * dilation]))
    blocks = 1 if halo else draw(st.integers(1, 3))
    pads = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    geometry = Geometry(
        outer * groups, inner * groups - odd, kernel, (stride, stride), (*pads, *pads),
        (dilation, dilation), groups,
    )  # fmt: skip
    try:
        high, wide = geometry.output_size(*size)
    except SparsebenchError:
        return  # smaller than the kernel
    reach = (
        stride * (n - 1) + dilation * (k - 1) for n, k in zip((high, wide), kernel, strict=True)
    )
    if halo and any(r - p >= s + halo for r, p, s in zip(reach, pads, size, strict=True)):
        return  # such a border is not one that a network's fold would have
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.standard_normal(geometry.weight_shape).astype(np.float32)
    weight *= rng.random(weight.shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    bias = rng.standard_normal(geometry.out_channels).astype(np.float32)
    ins, outs = geometry.in_channels, geometry.out_channels

    def values(shape: tuple[int, ...], in_pairs: bool) -> tuple[np.ndarray, np.ndarray]:
        """A tensor in memory and what it means; some values are zero."""
        found = rng.standard_normal(shape).astype(np.float32)
        if not in_pairs:
            return found, found
        pairs = packed(np.maximum(found, 0))
        return pairs, unpacked(pairs)

    shape = (blocks, size[0] + 2 * halo, size[1] + 2 * halo, ins, 16)
    held, x = values(shape, stored.inp)
    tensors = [Guarded(held, at_end := draw(st.booleans()))]
    added = np.zeros((), np.float32)
    made = (blocks, high, wide, outs, 16)
    tensors.append(
        Guarded(np.full((*made[:3], outs // (1 + stored.out), 16), np.nan, np.float32), at_end)
    )
    if stored.residual:
        held, added = values(made, stored.residual == "pairs")
        tensors.append(Guarded(held, at_end))
    act = draw(st.sampled_from([RELU, RELU6] if stored.out else [NONE, RELU, RELU6]))
    vectors = (ins // (1 + stored.inp), outs // (1 + stored.out))
    in_planes = planes_of(vectors[0], *size, halo, blocks)
    out_planes = planes_of(vectors[1], high, wide, 0, blocks)
    layer = PairConvolution(weight, bias, geometry, in_planes, out_planes, act, stored)
    lead = 64 * vectors[0] * (halo * (size[1] + 2 * halo) + halo)
    run(layer, tensors, lead, draw(st.sampled_from([1, 2])))
    # Lanes and blocks are images; where there are borders, what they hold is in the images.
    images = torch.from_numpy(np.moveaxis(x, (0, 4), (0, 1)).reshape(-1, *shape[1:4])).double()
    around = [p if not halo else p - halo for p in pads]
    images = torch.nn.functional.pad(
        images.permute(0, 3, 1, 2), (around[1], around[1], around[0], around[0])
    )
    sums = torch.nn.functional.conv2d(
        images, torch.from_numpy(weight).double(), torch.from_numpy(bias).double(),
        stride, 0, dilation, groups,
    )[:, :, :high, :wide]  # fmt: skip
    sums = sums.permute(0, 2, 3, 1).reshape(blocks, 16, high, wide, outs)
    expected = np.moveaxis(sums.numpy(), 1, 4) + added
    near = 1e-5 * max(1.0, float(np.abs(expected).max()))  # of 7350 sums one after the other
    if act != NONE:
        expected = np.clip(expected, 0, 6 if act == RELU6 else None)
    found = tensors[1].array
    rounded = LAST_BIT * np.abs(expected) if stored.out else 0.0
    if stored.out:
        found = unpacked(found)
    assert (np.abs(found - expected) <= near + rounded).all()


def stored_of(x: np.ndarray) -> np.ndarray:
    """``[places, C, 16]`` as a layer without weights that adds it stores it: what that means."""
    places, channels, _ = x.shape
    weight, plane = (
        np.zeros((channels, 2, 1, 1), np.float32),
        planes_of(channels // 2, 1, places, 0, 1),
    )
    layer = PairConvolution(
        weight, None, Geometry(channels, 2, (1, 1)), planes_of(1, 1, places, 0, 1), plane, RELU,
        Stored(True, True, "floats"),
    )  # fmt: skip
    made = np.zeros((places, channels // 2, 16), np.float32)
    tensors = [Guarded(np.zeros((places, 1, 16), np.float32), True), Guarded(made, True)]
    run(layer, [*tensors, Guarded(x, True)], 0)
    return unpacked(tensors[1].array)


def test_both_channels_of_a_pair_are_rounded_alike_and_to_no_side() -> None:
    rng = np.random.default_rng(0)
    size = rng.random((400, 60, 16), np.float32) * 2.0 ** rng.integers(-30, 30, (400, 60, 16))
    x = size.astype(np.float32)
    found = stored_of(x)
    errors = (found - x.astype(np.float64)) / x
    for one in (errors[:, ::2], errors[:, 1::2]):
        assert np.abs(one).max() <= LAST_BIT and abs(one.mean()) < 3e-5
        assert 0.0006 < np.abs(one).mean() < 0.0016


def test_zeros_stay_zeros_beside_any_number() -> None:
    x = np.zeros((3, 4, 16), np.float32)
    x[:, 1] = 3.0e38
    x[:, 2] = 1.0e-30
    x[0, 0] = -0.0
    found = stored_of(x)
    assert (found[:, [0, 3]] == 0).all()
    np.testing.assert_allclose(found[:, 1:3], x[:, 1:3], rtol=LAST_BIT)


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_what_is_no_number_stays_none(number: float) -> None:
    x = np.ones((2, 4, 16), np.float32)
    x[0, 0] = x[1, 3] = number
    found = stored_of(x)
    assert not np.isfinite(found[0, 0]).any() and not np.isfinite(found[1, 3]).any()
    np.testing.assert_allclose(found[0, 2:], 1, rtol=LAST_BIT)
    np.testing.assert_allclose(found[1, :2], 1, rtol=LAST_BIT)
