"""A pattern of non-zeros compiled for one shape: what is read, in which order, by which tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.assembly import Plan, Tiles, View, assemble
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.tiling import Axis, cut_plane, tile_shapes

# Vectors of a tile's surroundings in one block of channels: twice the first-level cache.
# Fewer would fit it, but every block reads and writes the sums once more; measured best.
CACHE_VECTORS = 1000


@dataclass(frozen=True)
class Pattern:
    """Non-zeros of a weight ``[O, C / groups, kh, kw]`` in row-major order.

    Attributes:
        out: output channel of each.
        inp: input channel of each, counted over all groups.
        ky: vertical tap.
        kx: horizontal tap.
    """

    out: NDArray[np.int64]
    inp: NDArray[np.int64]
    ky: NDArray[np.int64]
    kx: NDArray[np.int64]

    @classmethod
    def of(cls, kept: NDArray[np.bool_], groups: int) -> Pattern:
        """The pattern of a bool array of the weight's shape."""
        out, inner, ky, kx = np.nonzero(kept)
        group = out // (kept.shape[0] // groups)
        return cls(out, inner + group * kept.shape[1], ky, kx)

    def __len__(self) -> int:
        return len(self.out)

    def alike(self, channels: int) -> bool:
        """Whether all of the output channels have their non-zeros at the same places."""
        counts = np.bincount(self.out, minlength=channels)
        if counts[0] == 0 or (counts != counts[0]).any():
            return False
        places = (part.reshape(channels, -1) for part in (self.inp, self.ky, self.kx))
        return all(bool((part == part[0]).all()) for part in places)


def forward_plan(
    pattern: Pattern,
    geometry: Geometry,
    inp: Blocked,
    out: Blocked,
    *,
    threads: int,
    most: int,
    most_alike: int = 1,
    cache_vectors: int = CACHE_VECTORS,
    weights_only: bool = False,
) -> Plan:
    """Outputs in registers.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution.
        inp: shape of the input.
        out: shape of the output.
        threads: that will share the work.
        most: vectors of a tile.
        most_alike: the same where all channels have their non-zeros at the same places.
        cache_vectors: of the input that a block of channels may take.
        weights_only: the plan of a weight gradient, whose threads must own their channels.
    """
    rows = geometry.forward_axis(0, inp.height, out.height)
    columns = geometry.forward_axis(1, inp.width, out.width)
    kh, kw = geometry.kernel
    # Horizontal taps are the outer ones: rows of a tile mostly see all vertical taps alike.
    taps = [(ky, kx) for kx in range(kw) for ky in range(kh)]
    rank = np.empty((kh, kw), np.int64)
    for i, (ky, kx) in enumerate(taps):
        rank[ky, kx] = i
    lanes = inp.lanes
    dy = np.array(rows.shifts)[pattern.ky]
    dx = np.array(columns.shifts)[pattern.kx]
    offset = pattern.inp * inp.channel_stride + (dy * inp.width + dx) * lanes
    tiles = Tiles()
    view = View(rows, columns, tuple((rows.shifts[ky], columns.shifts[kx]) for ky, kx in taps))
    alike = not weights_only and pattern.alike(geometry.out_channels)
    for cut in cut_plane(rows, columns, out.blocks, most_alike if alike else most):
        own = (cut.block * out.plane + cut.row * out.width + cut.column) * lanes
        other = cut.block * inp.plane
        other += cut.row * rows.step * inp.width + cut.column * columns.step
        tiles.add(own, other * lanes, cut, view)
    split = 1
    if geometry.groups == 1 and not weights_only:
        split = _channel_blocks(geometry.in_channels, rows, columns, inp, tiles, cache_vectors)
    return assemble(
        own_channel=pattern.out,
        channels=geometry.out_channels,
        block=pattern.inp * split // geometry.in_channels,
        blocks=split,
        tap=rank[pattern.ky, pattern.kx],
        taps=len(taps),
        offset=offset,
        tiles=tiles,
        threads=threads,
        stride=columns.step if columns.step <= 2 else 1,
        must_own=weights_only,
        alike=alike,
        strides={
            "item_bytes": inp.item_bytes,
            "own_channel": out.channel_stride,
            "own_block": out.plane * lanes,
            "own_row": out.width * lanes,
            "own_column": lanes,
            "other_block": inp.plane * lanes,
            "other_row": rows.step * inp.width * lanes,
            "other_channel": inp.channel_stride,
            "other_channels": inp.channels,
            "ahead": max(rows.shifts) * inp.width * lanes,
        },
    )


def backward_plan(
    pattern: Pattern,
    geometry: Geometry,
    inp: Blocked,
    out: Blocked,
    *,
    threads: int,
    most: int,
) -> Plan:
    """Inputs and their gradients in registers, one phase of the stride after the other."""
    sy, sx = geometry.stride
    lanes = inp.lanes
    taps: list[tuple[int, int]] = []
    shift_y = np.zeros(geometry.kernel[0], np.int64)
    shift_x = np.zeros(geometry.kernel[1], np.int64)
    phases = []
    for py in range(min(sy, inp.height)):
        for px in range(min(sx, inp.width)):
            rows = geometry.backward_axis(0, inp.height, out.height, py)
            columns = geometry.backward_axis(1, inp.width, out.width, px)
            tap_rows, tap_columns = geometry.phase_taps(0, py), geometry.phase_taps(1, px)
            shift_y[tap_rows] = rows.shifts
            shift_x[tap_columns] = columns.shifts
            first = len(taps)
            taps += [(ky, kx) for kx in tap_columns for ky in tap_rows]
            phases.append((py, px, rows, columns, first, len(taps)))
    # A kernel may have taps that no input of a small plane meets; they stay without effect.
    known = set(taps)
    taps += [
        (ky, kx)
        for ky in range(geometry.kernel[0])
        for kx in range(geometry.kernel[1])
        if (ky, kx) not in known
    ]
    rank = np.empty(geometry.kernel, np.int64)
    for i, (ky, kx) in enumerate(taps):
        rank[ky, kx] = i
    offset = pattern.out * out.channel_stride
    offset = offset + (shift_y[pattern.ky] * out.width + shift_x[pattern.kx]) * lanes
    tiles = Tiles()
    for py, px, rows, columns, first, end in phases:
        seen = tuple(
            (int(shift_y[ky]), int(shift_x[kx])) if first <= i < end else None
            for i, (ky, kx) in enumerate(taps)
        )
        view = View(rows, columns, seen)
        for cut in cut_plane(rows, columns, inp.blocks, most):
            own = (py + cut.row * sy) * inp.width + px + cut.column * sx
            own += cut.block * inp.plane
            other = cut.block * out.plane + cut.row * out.width + cut.column
            tiles.add(own * lanes, other * lanes, cut, view)
    return assemble(
        own_channel=pattern.inp,
        channels=geometry.in_channels,
        block=np.zeros(len(pattern), np.int64),
        blocks=1,
        tap=rank[pattern.ky, pattern.kx],
        taps=len(taps),
        offset=offset,
        tiles=tiles,
        threads=threads,
        stride=1,
        must_own=True,
        strides={
            "item_bytes": inp.item_bytes,
            "own_channel": inp.channel_stride,
            "own_block": inp.plane * lanes,
            "own_row": sy * inp.width * lanes,
            "own_column": sx * lanes,
            "other_block": out.plane * lanes,
            "other_row": out.width * lanes,
            "other_channel": out.channel_stride,
            "other_channels": out.channels,
            "ahead": int(shift_y.max()) * out.width * lanes,
        },
    )


def _channel_blocks(
    channels: int, rows: Axis, columns: Axis, inp: Blocked, tiles: Tiles, budget: int
) -> int:
    """Number of blocks of input channels whose surroundings of a tile fit the cache."""
    nb, r, c = tile_shapes()[tiles.rows[0][2]]
    reach_y = max(rows.shifts) - min(rows.shifts)
    reach_x = max(columns.shifts) - min(columns.shifts)
    high = min((r - 1) * rows.step + 1 + reach_y, inp.height)
    wide = min((c - 1) * columns.step + 1 + reach_x, inp.width)
    together = max(1, budget // (nb * high * wide))
    return -(-channels // together)
