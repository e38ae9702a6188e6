"""What the kernels read of a compiled pattern: entries in their order, and the tiles."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.library import CPlan
from sparsebench.exporters.kernels.compiled.tiling import Axis, Cut, merge_runs, tile_shapes
from sparsebench.models.errors import SparsebenchError

TILE = np.dtype([("own", "i8"), ("other", "i8"), ("shape", "i4"), ("runs", "i4")])
ENTRY = {
    4: np.dtype([("weight", "f4"), ("offset", "i4")]),
    8: np.dtype([("weight", "f8"), ("offset", "i4"), ("unused", "i4")]),
}
_MOST_OFFSET = 2**31 - 1


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
            for name in ("starts", "entries", "tiles", "run_sets", "runs", "cuts", "mask")
            if parts.get(name) is not None
        }
        self.c = CPlan(
            rows=parts["rows"],
            blocks=parts["blocks"],
            taps=parts["taps"],
            stride=parts["stride"],
            tiles_count=len(parts["tiles"]),
            cuts_count=len(parts["cuts"]) - 1,
            row_split=parts["row_split"],
            alike=parts["alike"],
            **address,
            **parts["strides"],
        )
        self.reference = ctypes.byref(self.c)


class View:
    """What tiles see of the other tensor: the axes, and each tap's place on them.

    Args:
        rows: vertical axis.
        columns: horizontal axis.
        shifts: (vertical, horizontal) of each tap, None where it does not count.
    """

    def __init__(
        self, rows: Axis, columns: Axis, shifts: tuple[tuple[int, int] | None, ...]
    ) -> None:
        self._axes = (rows, columns)
        self._shifts = shifts
        self._kinds: tuple[dict[tuple[int, int], dict[int, int]], ...] = ({}, {})

    def runs(self, cut: Cut) -> tuple[tuple[int, int, int], ...]:
        """Neighbouring taps that see the same part of a tile."""
        _, r, c = tile_shapes()[cut.shape]
        vertical, horizontal = self._along(0, cut.row, r), self._along(1, cut.column, c)
        kinds = []
        for shift in self._shifts:
            y, x = (-1, -1) if shift is None else (vertical[shift[0]], horizontal[shift[1]])
            kinds.append(-1 if y < 0 or x < 0 else 3 * y + x)
        return tuple(merge_runs(kinds))

    def _along(self, axis: int, first: int, count: int) -> dict[int, int]:
        known = self._kinds[axis]
        if (first, count) not in known:
            kinds = {}
            for shift in {shift[axis] for shift in self._shifts if shift is not None}:
                kind = self._axes[axis].kind(first, count, shift)
                assert kind is not None
                kinds[shift] = kind
            known[first, count] = kinds
        return known[first, count]


class Tiles:
    """Tiles and the distinct sets of runs among them."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []
        self.sets: dict[tuple[tuple[int, int, int], ...], int] = {}
        self._known: dict[tuple[View, int, int, int], int] = {}

    def add(self, own: int, other: int, cut: Cut, view: View) -> None:
        """One more tile.

        Args:
            own: its place in the tensor that is held in registers, elements.
            other: its place in the other tensor.
            cut: where it lies in the plane.
            view: of the other tensor.
        """
        key = (view, cut.row, cut.column, cut.shape)
        if key not in self._known:
            self._known[key] = self.sets.setdefault(view.runs(cut), len(self.sets))
        self.rows.append((own, other, cut.shape, self._known[key]))


def assemble(
    *,
    own_channel: NDArray[np.int64],
    channels: int,
    block: NDArray[np.int64],
    blocks: int,
    tap: NDArray[np.int64],
    taps: int,
    offset: NDArray[np.int64],
    tiles: Tiles,
    threads: int,
    stride: int,
    must_own: bool,
    strides: dict[str, int],
    alike: bool = False,
    mask: NDArray[Any] | None = None,
) -> Plan:
    """The plan of these entries and tiles.

    Args:
        own_channel: of each non-zero.
        channels: of the own tensor.
        block: of other channels, of each non-zero.
        blocks: their number.
        tap: of each non-zero, in the order of the tiles' runs.
        taps: their number.
        offset: from a tile's place in the other tensor, of each non-zero.
        tiles: in the order of execution.
        threads: that will share the work.
        stride: of the other tensor between neighbouring columns.
        must_own: two threads may not work on one own channel.
        strides: by the names of `CPlan` (``library.py``), and ``item_bytes``.
        alike: all own channels have their non-zeros at the same places.
        mask: bits for each place of an own channel that must stay zero.
    """
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
        alike=int(alike),
        mask=mask,
        strides=strides,
    )


def _even_cuts(work: NDArray[np.int64], pieces: int) -> NDArray[np.int32]:
    """Bounds of ranges of channels with about equal numbers of non-zeros."""
    pieces = min(pieces, len(work))
    done = np.cumsum(work + 1)
    bounds = np.searchsorted(done, done[-1] * np.arange(1, pieces) / pieces) + 1
    cuts = np.concatenate([[0], np.minimum(bounds, len(work)), [len(work)]])
    return np.unique(cuts).astype(np.int32)


def _multiply_adds(per_tap: NDArray[np.int64], tiles: Tiles) -> int:
    total = 0
    names = list(tiles.sets)
    for _, _, shape, runs in tiles.rows:
        nb, r, c = tile_shapes()[shape]
        for begin, end, kind in names[runs]:
            seen = (r - (kind // 3 > 0)) * (c - (kind % 3 > 0)) * nb
            total += seen * int(per_tap[begin:end].sum())
    return total
