"""A pattern of non-zeros compiled for folded tensors."""

from __future__ import annotations

import numpy as np

from sparsebench.exporters.kernels.compiled.assembly import Plan, Tiles, View, assemble
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.compiled.tiling import Axis, cut_plane, tile_shapes
from sparsebench.exporters.kernels.inference.folding import Folded

# Vectors of a tile's surroundings in one block of channels, measured best: twice the first-level
# cache, as in `plan.py`, where a channel has several taps; a fifth of the second-level cache where
# it has one, since the sums of many blocks would be read and written for few non-zeros each.
CACHE_VECTORS = 1000
POINT_VECTORS = 3000
# Of vectors of 32 bytes (AVX2) more fit, and whole planes cut the non-zeros of a block into short
# runs by what the border leaves of a tile, so fewer and larger blocks are faster. ResNet-18: layers
# of 4x4 places take 0.55 instead of 0.82 ms, of 2x2 places 0.48 instead of 0.55, of 8x8 places 5 %
# less (Zen 3, 16 images at 64 px).
_SHORT = 32  # bytes
_SHORT_VECTORS, _WHOLE_VECTORS = 1500, 3000


def border_of(geometry: Geometry, inp: tuple[int, int], out: tuple[int, int]) -> int:
    """Places around a piece of the input that a convolution reads.

    Args:
        geometry: of the convolution.
        inp: (height, width) of a piece of the input.
        out: of the output.
    """
    need = 0
    for axis in range(2):
        shifts = geometry.forward_axis(axis, inp[axis], out[axis]).shifts
        last = (out[axis] - 1) * geometry.stride[axis] + max(shifts)
        need = max(need, -min(shifts), last - (inp[axis] - 1))
    return need


def _budget(inp: Folded) -> int:
    """Vectors of a tile's surroundings in a block of channels that have several taps each."""
    if inp.lanes * inp.item_bytes > _SHORT:
        return CACHE_VECTORS
    return _WHOLE_VECTORS if inp.fold.whole else _SHORT_VECTORS


def folded_plan(
    pattern: Pattern,
    geometry: Geometry,
    inp: Folded,
    out: Folded,
    *,
    threads: int,
    most: int,
    most_alike: int,
) -> Plan:
    """Outputs in registers. Of whole planes a tap sees what the borders leave of a tile; else
    borders are in memory and every tap sees all of it.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution.
        inp: shape of the input, with a border as :func:`border_of` says.
        out: shape of the output.
        threads: that will share the work.
        most: vectors of a tile.
        most_alike: the same where all channels have their non-zeros at the same places.
    """
    if inp.fold.blocks > 1:
        return _unrolled_plan(pattern, geometry, inp, out, threads, most)
    lanes, (sy, sx) = inp.lanes, geometry.stride
    height, width, own_row, other_row = out.height, out.width, out.row_stride, inp.row_stride
    shifts = [geometry.forward_axis(i, 1, 1).shifts for i in range(2)]
    kh, kw = geometry.kernel
    # Horizontal taps are the outer ones: rows of a tile mostly see all vertical taps alike.
    taps = [(ky, kx) for kx in range(kw) for ky in range(kh)]
    if inp.fold.whole:
        rows = geometry.forward_axis(0, inp.height, height)
        columns = geometry.forward_axis(1, inp.width, width)
        seen = tuple((shifts[0][ky], shifts[1][kx]) for ky, kx in taps)
    else:
        rows, columns = Axis(height, height * sy, sy, (0,)), Axis(width, width * sx, sx, (0,))
        seen = ((0, 0),)
    rank = np.zeros((kh, kw), np.int64)
    if len(seen) > 1:
        for i, (ky, kx) in enumerate(taps):
            rank[ky, kx] = i
    alike = pattern.alike(geometry.out_channels)
    tiles, view = Tiles(), View(rows, columns, seen)
    for cut in cut_plane(rows, columns, 1, most_alike if alike else most):
        own = cut.row * own_row + cut.column * lanes
        other = cut.row * sy * other_row
        tiles.add(own, other + cut.column * sx * lanes, cut, view)
    split = 1
    if geometry.groups == 1:
        _, r, c = tile_shapes()[tiles.rows[0][2]]
        high = (r - 1) * sy + 1 + max(shifts[0]) - min(shifts[0])
        wide = (c - 1) * sx + 1 + max(shifts[1]) - min(shifts[1])
        budget = POINT_VECTORS if kh * kw == 1 else _budget(inp)
        split = -(-geometry.in_channels // max(1, budget // (high * wide)))
    dy, dx = np.array(shifts[0])[pattern.ky], np.array(shifts[1])[pattern.kx]
    return assemble(
        own_channel=pattern.out,
        channels=geometry.out_channels,
        block=pattern.inp * split // geometry.in_channels,
        blocks=split,
        tap=rank[pattern.ky, pattern.kx],
        taps=len(seen),
        offset=pattern.inp * inp.channel_stride + dy * other_row + dx * lanes,
        tiles=tiles,
        threads=threads,
        stride=sx if sx <= 2 else 1,
        must_own=False,
        alike=alike,
        strides={
            "item_bytes": inp.item_bytes,
            "own_channel": out.channel_stride,
            "own_block": 0,
            "own_row": own_row,
            "own_column": lanes,
            "other_block": 0,
            "other_row": sy * other_row,
            "other_channel": inp.channel_stride,
            "other_channels": inp.channels,
            "ahead": max(shifts[0]) * other_row,
        },
    )


def _unrolled_plan(
    pattern: Pattern, geometry: Geometry, inp: Folded, out: Folded, threads: int, most: int
) -> Plan:
    """Every place of the output is a channel of its own, a tile is that place's blocks.

    In a small plane a tap meets few places and a channel few taps: loops over them would be
    short and their lengths unforeseeable. So what each place reads is listed for itself.
    """
    lanes, blocks = inp.lanes, inp.fold.blocks
    y, x = np.mgrid[: out.height, : out.width].reshape(2, 1, -1)
    dy, dx = (
        np.array(geometry.forward_axis(axis, 1, 1).shifts)[tap][:, None]
        for axis, tap in enumerate((pattern.ky, pattern.kx))
    )
    y, x = y * geometry.stride[0] + dy, x * geometry.stride[1] + dx
    entry, place = np.nonzero((y >= 0) & (y < inp.height) & (x >= 0) & (x < inp.width))
    channel = pattern.inp[entry]
    offset = y[entry, place] * inp.row_stride + x[entry, place] * inp.column_stride
    one = Axis(1, 1, 1, (0,))
    tiles, view = Tiles(), View(one, one, ((0, 0),))
    for cut in cut_plane(one, one, blocks, most):
        tiles.add(cut.block * lanes, cut.block * lanes, cut, view)
    split = 1
    if geometry.groups == 1:
        vectors = inp.height * inp.width * blocks
        split = -(-geometry.in_channels // max(1, _budget(inp) // vectors))
    plan = assemble(
        own_channel=pattern.out[entry] * (out.height * out.width) + place,
        channels=geometry.out_channels * out.height * out.width,
        block=channel * split // geometry.in_channels,
        blocks=split,
        tap=np.zeros(len(entry), np.int64),
        taps=1,
        offset=channel * inp.channel_stride + offset,
        tiles=tiles,
        threads=threads,
        stride=1,
        must_own=False,
        strides={
            "item_bytes": inp.item_bytes,
            "own_channel": out.column_stride,
            "own_block": lanes,
            "own_row": 0,
            "own_column": 0,
            "other_block": lanes,
            "other_row": 0,
            "other_channel": inp.channel_stride,
            "other_channels": inp.channels,
            "ahead": 0,
        },
    )
    plan.order = entry[plan.order].astype(np.int32)
    return plan
