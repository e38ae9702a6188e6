"""A pattern of non-zeros compiled for folded tensors."""

from __future__ import annotations

import numpy as np

from exporters.kernels.assembly import Plan, Tiles, assemble
from exporters.kernels.folding import Folded
from exporters.kernels.geometry import Geometry
from exporters.kernels.plan import Pattern, forward_plan
from exporters.kernels.tiling import Axis, cut_plane, tile_shapes

# Vectors of a tile's surroundings in one block of channels.
CACHE_VECTORS = 1000

# Outputs (and residuals) of more than this are asked for ahead of time.
FAR_BYTES = 300_000


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
    """Outputs in registers. Borders are in memory, so every tap sees the whole of each tile.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution.
        inp: shape of the input, with a border as :func:`border_of` says.
        out: shape of the output.
        threads: that will share the work.
        most: vectors of a tile.
        most_alike: the same where all channels have their non-zeros at the same places.
    """
    if inp.fold.whole:
        return forward_plan(
            pattern,
            geometry,
            inp.blocked,
            out.blocked,
            threads=threads,
            most=most,
            most_alike=most_alike,
            far=out.bytes > FAR_BYTES,
        )
    lanes, (sy, sx) = inp.lanes, geometry.stride
    height, width, own_row, other_row = out.height, out.width, out.row, inp.row
    shifts = [geometry.forward_axis(i, 1, 1).shifts for i in range(2)]
    if shifts == [(0,), (0,)] and (sy, sx) == (1, 1) and inp.halo == out.halo == 0:
        height, width = 1, height * width  # rows follow each other without a gap
    rows, columns = Axis(height, height * sy, sy, (0,)), Axis(width, width * sx, sx, (0,))
    alike = pattern.alike(geometry.out_channels)
    tiles = Tiles()
    for cut in cut_plane(rows, columns, 1, most_alike if alike else most):
        own = (cut.row * own_row + cut.column) * lanes
        other = (cut.row * sy * other_row + cut.column * sx) * lanes
        tiles.add(own, other, cut, rows, columns, ((0, 0),))
    split = 1
    if geometry.groups == 1:
        _, r, c = tile_shapes()[tiles.rows[0][2]]
        high = (r - 1) * sy + 1 + max(shifts[0]) - min(shifts[0])
        wide = (c - 1) * sx + 1 + max(shifts[1]) - min(shifts[1])
        split = -(-geometry.in_channels // max(1, CACHE_VECTORS // (high * wide)))
    dy, dx = np.array(shifts[0])[pattern.ky], np.array(shifts[1])[pattern.kx]
    return assemble(
        own_channel=pattern.out,
        channels=geometry.out_channels,
        block=pattern.inp * split // geometry.in_channels,
        blocks=split,
        tap=np.zeros(len(pattern), np.int64),
        taps=1,
        offset=pattern.inp * inp.channel_stride + (dy * other_row + dx) * lanes,
        tiles=tiles,
        threads=threads,
        stride=sx if sx <= 2 else 1,
        must_own=False,
        alike=alike,
        far=out.bytes > FAR_BYTES,
        strides={
            "item_bytes": inp.item_bytes,
            "own_channel": out.channel_stride,
            "own_block": 0,
            "own_row": own_row * lanes,
            "own_column": lanes,
            "other_block": 0,
            "other_row": sy * other_row * lanes,
            "other_channel": inp.channel_stride,
            "other_channels": inp.channels,
            "ahead": max(shifts[0]) * other_row * lanes,
        },
    )
