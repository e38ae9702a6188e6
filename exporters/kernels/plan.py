"""A pattern of non-zeros compiled for one shape: what is read, in which order, by which tile."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.kernels.geometry import Geometry
from exporters.kernels.layout import Blocked
from exporters.kernels.library import CPlan
from exporters.kernels.tiling import Axis, Cut, cut_plane, merge_runs, tile_shapes
from models.errors import SparsebenchError

TILE = np.dtype([("own", "i8"), ("other", "i8"), ("shape", "i4"), ("runs", "i4")])
ENTRY = {
    4: np.dtype([("weight", "f4"), ("offset", "i4")]),
    8: np.dtype([("weight", "f8"), ("offset", "i4"), ("unused", "i4")]),
}
# Vectors of a tile's surroundings in one block of channels: twice the first-level cache.
# Fewer would fit it, but every block reads and writes the sums once more; measured best.
CACHE_VECTORS = 1000
_MOST_OFFSET = 2**31 - 1


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


class Plan:
    """One direction of a convolution for one shape.

    Attributes:
        order: int32, the non-zero (in row-major order) behind each entry.
        multiply_adds: vectors multiplied and added in one pass, those at borders left out.
        c: the structure that the kernels read.
    """

    def __init__(self, **parts: Any) -> None:
        self.order: NDArray[np.int32] = parts["order"]
        self.entries: NDArray[Any] = parts["entries"]
        self.multiply_adds: int = parts["multiply_adds"]
        self.blocks: int = parts["blocks"]
        self._kept_alive = parts
        address = {
            name: parts[name].ctypes.data
            for name in ("starts", "entries", "tiles", "run_sets", "runs", "cuts")
        }
        self.c = CPlan(
            rows=parts["rows"],
            blocks=parts["blocks"],
            taps=parts["taps"],
            stride=parts["stride"],
            tiles_count=len(parts["tiles"]),
            cuts_count=len(parts["cuts"]) - 1,
            row_split=parts["row_split"],
            **address,
            **parts["strides"],
        )
        self.reference = ctypes.byref(self.c)


def forward_plan(
    pattern: Pattern,
    geometry: Geometry,
    inp: Blocked,
    out: Blocked,
    *,
    threads: int,
    most: int,
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
    tiles = _Tiles()
    seen = tuple((rows.shifts[ky], columns.shifts[kx]) for ky, kx in taps)
    for cut in cut_plane(rows, columns, out.blocks, most):
        own = (cut.block * out.plane + cut.row * out.width + cut.column) * lanes
        other = cut.block * inp.plane
        other += cut.row * rows.step * inp.width + cut.column * columns.step
        tiles.add(own, other * lanes, cut, rows, columns, seen)
    split = 1
    if geometry.groups == 1 and not weights_only:
        split = _channel_blocks(geometry.in_channels, rows, columns, inp, tiles, cache_vectors)
    return _assemble(
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
    tiles = _Tiles()
    for py, px, rows, columns, first, end in phases:
        seen = tuple(
            (int(shift_y[ky]), int(shift_x[kx])) if first <= i < end else None
            for i, (ky, kx) in enumerate(taps)
        )
        for cut in cut_plane(rows, columns, inp.blocks, most):
            own = (py + cut.row * sy) * inp.width + px + cut.column * sx
            own += cut.block * inp.plane
            other = cut.block * out.plane + cut.row * out.width + cut.column
            tiles.add(own * lanes, other * lanes, cut, rows, columns, seen)
    return _assemble(
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


class _Tiles:
    """Tiles and the distinct sets of runs among them."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []
        self.sets: dict[tuple[tuple[int, int, int], ...], int] = {}
        self._known: dict[Any, int] = {}

    def add(
        self,
        own: int,
        other: int,
        cut: Cut,
        rows: Axis,
        columns: Axis,
        shifts: tuple[tuple[int, int] | None, ...],
    ) -> None:
        key = (cut.row, cut.column, cut.shape, rows, columns, shifts)
        if key not in self._known:
            kinds = [-1 if shift is None else _seen(rows, columns, cut, *shift) for shift in shifts]
            self._known[key] = self.sets.setdefault(tuple(merge_runs(kinds)), len(self.sets))
        self.rows.append((own, other, cut.shape, self._known[key]))


def _seen(rows: Axis, columns: Axis, cut: Cut, dy: int, dx: int) -> int:
    """The kind of the part of a tile that a tap sees, -1 for nothing."""
    _, r, c = tile_shapes()[cut.shape]
    vertical = rows.kind(cut.row, r, dy)
    horizontal = columns.kind(cut.column, c, dx)
    assert vertical is not None and horizontal is not None
    return -1 if vertical < 0 or horizontal < 0 else 3 * vertical + horizontal


def _channel_blocks(
    channels: int, rows: Axis, columns: Axis, inp: Blocked, tiles: _Tiles, budget: int
) -> int:
    """Number of blocks of input channels whose surroundings of a tile fit the cache."""
    nb, r, c = tile_shapes()[tiles.rows[0][2]]
    reach_y = max(rows.shifts) - min(rows.shifts)
    reach_x = max(columns.shifts) - min(columns.shifts)
    high = min((r - 1) * rows.step + 1 + reach_y, inp.height)
    wide = min((c - 1) * columns.step + 1 + reach_x, inp.width)
    together = max(1, budget // (nb * high * wide))
    return -(-channels // together)


def _assemble(
    *,
    own_channel: NDArray[np.int64],
    channels: int,
    block: NDArray[np.int64],
    blocks: int,
    tap: NDArray[np.int64],
    taps: int,
    offset: NDArray[np.int64],
    tiles: _Tiles,
    threads: int,
    stride: int,
    must_own: bool,
    strides: dict[str, int],
) -> Plan:
    if len(offset) and max(int(offset.max()), -int(offset.min())) > _MOST_OFFSET:
        raise SparsebenchError(
            "An activation is too large for the sparse kernels (2^31 elements).",
            "Lower the batch size.",
        )
    key = (block * channels + own_channel) * taps + tap
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key, minlength=blocks * channels * taps)
    ends = np.cumsum(counts).reshape(blocks * channels, taps)
    begins = np.zeros((blocks * channels, 1), np.int64)
    begins[1:, 0] = ends[:-1, -1]
    starts = np.concatenate([begins, ends], axis=1).astype(np.int32)
    entries = np.zeros(len(order), ENTRY[strides.pop("item_bytes")])
    entries["offset"] = offset[order]
    run_lists = list(tiles.sets)
    runs = np.array([run for runs in run_lists for run in runs], np.int32).reshape(-1, 3)
    run_sets = np.cumsum([0, *(len(runs) for runs in run_lists)]).astype(np.int32)
    row_split = must_own or len(tiles.rows) < 4 * threads
    return Plan(
        order=order.astype(np.int32),
        entries=entries,
        multiply_adds=_multiply_adds(counts.reshape(-1, taps).sum(0), tiles),
        starts=starts,
        tiles=np.array(tiles.rows, TILE),
        run_sets=run_sets,
        runs=np.ascontiguousarray(runs),
        cuts=_even_cuts(np.bincount(own_channel, minlength=channels), 4 * threads),
        rows=channels,
        blocks=blocks,
        taps=taps,
        stride=stride,
        row_split=int(row_split),
        strides=strides,
    )


def _even_cuts(work: NDArray[np.int64], pieces: int) -> NDArray[np.int32]:
    """Bounds of ranges of channels with about equal numbers of non-zeros."""
    pieces = min(pieces, len(work))
    done = np.cumsum(work + 1)
    bounds = np.searchsorted(done, done[-1] * np.arange(1, pieces) / pieces) + 1
    cuts = np.concatenate([[0], np.minimum(bounds, len(work)), [len(work)]])
    return np.unique(cuts).astype(np.int32)


def _multiply_adds(per_tap: NDArray[np.int64], tiles: _Tiles) -> int:
    total = 0
    names = list(tiles.sets)
    for _, _, shape, runs in tiles.rows:
        nb, r, c = tile_shapes()[shape]
        for begin, end, kind in names[runs]:
            seen = (r - (kind // 3 > 0)) * (c - (kind % 3 > 0)) * nb
            total += seen * int(per_tap[begin:end].sum())
    return total
