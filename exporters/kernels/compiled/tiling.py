"""How a plane is cut into tiles that fit the registers, and what each tap sees of a tile."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from sparsebench.exporters.kernels.compiled.build import SOURCE

FULL, NOT_FIRST, NOT_LAST = 0, 1, 2


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution, seen from the tensor that is held in registers.

    Place ``i`` of the own tensor meets place ``step * i + shift`` of the other one, for
    each tap's shift, where that exists.

    Attributes:
        own: places of the own tensor (of one phase).
        other: places of the other tensor.
        step: stride in the other tensor.
        shifts: one for each tap.
    """

    own: int
    other: int
    step: int
    shifts: tuple[int, ...]

    def seen(self) -> float:
        """Share of (place, tap) that meet a place of the other tensor."""
        found = [
            0 <= self.step * i + shift < self.other
            for i in range(self.own)
            for shift in self.shifts
        ]
        return sum(found) / len(found)

    def kind(self, first: int, count: int, shift: int) -> int | None:
        """What a tap sees of ``[first, first + count)``: a kind, -1 for nothing, None for
        a part that the kernels have no code for."""
        seen = [0 <= self.step * i + shift < self.other for i in range(first, first + count)]
        if all(seen):
            return FULL
        if not any(seen):
            return -1
        if all(seen[1:]):
            return NOT_FIRST
        if all(seen[:-1]):
            return NOT_LAST
        return None

    def representable(self, first: int, count: int) -> bool:
        """Whether every tap sees a part that the kernels have code for."""
        return all(self.kind(first, count, shift) is not None for shift in self.shifts)


@cache
def tile_shapes() -> tuple[tuple[int, int, int], ...]:
    """(blocks, rows, columns) of the compiled tiles, read from plan.h."""
    found = re.findall(r"X\((\d+), (\d+), (\d+), (\d+)\)", (SOURCE / "plan.h").read_text())
    return tuple((int(nb), int(r), int(c)) for _, nb, r, c in found)


@dataclass(frozen=True)
class Cut:
    """A tile: its place in the plane and the number of its compiled shape."""

    block: int
    row: int
    column: int
    shape: int


def cut_plane(rows: Axis, columns: Axis, blocks: int, most: int) -> list[Cut]:
    """Tiles that cover ``blocks`` planes, each of at most ``most`` vectors.

    One plane after the other, row by row: what a row of tiles reads besides its own place is
    still in the second-level cache when the next row asks for it. At 56x56 this is 1.4 times as
    fast as going down the columns with all planes side by side; small planes do not care.
    """
    return sorted(
        _cuts(rows, columns, blocks, most), key=lambda cut: (cut.block, cut.row, cut.column)
    )


def _cuts(rows: Axis, columns: Axis, blocks: int, most: int) -> Iterator[Cut]:
    shapes = tile_shapes()
    for column, width in _cut_columns(columns, most):
        row = 0
        while row < rows.own:
            fitting = [
                (nb, r)
                for nb, r, c in shapes
                if c == width
                and nb * r * c <= most
                and nb <= blocks
                and row + r <= rows.own
                and rows.representable(row, r)
            ]
            nb, r = max(fitting, key=lambda shape: (shape[0] * shape[1], shape[1]))
            block = 0
            while block < blocks:
                while nb > blocks - block or (nb, r, width) not in shapes:
                    nb -= 1
                yield Cut(block, row, column, shapes.index((nb, r, width)))
                block += nb
            row += r


def _cut_columns(axis: Axis, most: int) -> Iterator[tuple[int, int]]:
    widest = min(most, max(c for _, _, c in tile_shapes()))
    if axis.step > 2:
        widest = 1  # the kernels know strides of one and two between columns
    pieces = -(-axis.own // widest)
    even = [axis.own * i // pieces for i in range(pieces + 1)]
    spans = [(a, b - a) for a, b in itertools.pairwise(even)]
    if all(axis.representable(first, count) for first, count in spans):
        yield from spans
        return
    first = 0
    while first < axis.own:
        count = 1
        while count < widest and first + count < axis.own and axis.representable(first, count + 1):
            count += 1
        yield first, count
        first += count


def merge_runs(kinds: Sequence[int | None]) -> list[tuple[int, int, int]]:
    """(first tap, end, kind) of neighbouring taps that see the same; those that see nothing
    (-1) are left out."""
    runs: list[tuple[int, int, int]] = []
    for tap, kind in enumerate(kinds):
        assert kind is not None
        if kind < 0:
            continue
        if runs and runs[-1][1] == tap and runs[-1][2] == kind:
            runs[-1] = (runs[-1][0], tap + 1, kind)
        else:
            runs.append((tap, tap + 1, kind))
    return runs
