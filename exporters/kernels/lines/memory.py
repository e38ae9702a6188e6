"""Memory of lines: values of the same planes take turns, since the zeros between rows stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.pages import aligned
from sparsebench.exporters.kernels.lanes.reader import LaneGraph
from sparsebench.exporters.kernels.lanes.steps import RowStep, written
from sparsebench.exporters.kernels.lanes.values import View
from sparsebench.exporters.kernels.lines.layout import LANES, LinesRefusedError, Places, Plane


class LineMemory:
    """Where the buffers of a graph lie, taken as they are written and dropped when read.

    Args:
        graph: what is executed.

    Attributes:
        places: of its views.

    Raises:
        LinesRefusedError: see :class:`Places`.
    """

    def __init__(self, graph: LaneGraph) -> None:
        self.places = Places(graph)
        self._inside = _insides(graph, self.places)
        self._dies: dict[int, int] = {}
        for place, step in enumerate(graph.steps):
            for view in (*written(step), *step.reads):
                self._dies[self.root(view.buffer)] = place
        # The images come with every call: nobody else may write between their rows.
        for buffer in (0, graph.output.buffer):
            self._dies[self.root(buffer)] = len(graph.steps)
        self._free: dict[object, list[int]] = {}
        self._keys: dict[int, object] = {}  # of what is held, by its address
        self._held: dict[int, int] = {}  # buffer -> address of its first pixel
        self._kept: list[NDArray[np.uint8]] = []
        self.take(0)

    def root(self, buffer: int) -> int:
        """The buffer that another one is a part of, or itself."""
        return self._inside[buffer][0] if buffer in self._inside else buffer

    def take(self, buffer: int) -> None:
        """Give a buffer its memory, unless it has some."""
        buffer = self.root(buffer)
        if buffer not in self._held:
            shape = self.places.shapes[buffer]
            if shape is None:
                self._held[buffer] = self._new(self.places.floats(buffer), 0, None)
            else:
                self._held[buffer] = self.take_planes(*shape)

    def take_planes(self, channels: int, plane: Plane, *, clean: bool = False) -> int:
        """The address of the first pixel of so many planes.

        Args:
            channels: their number.
            plane: each of them.
            clean: all else is zero, as long as nobody writes there. Else garbage may lie between
                rows; between planes there are zeros anyhow.
        """
        return self._new(plane.floats(channels), plane.apart, (plane, clean))

    def give_planes(self, address: int) -> None:
        """Planes are read no more."""
        self._free.setdefault(self._keys.pop(address), []).append(address)

    def drop_read(self, place: int) -> None:
        """The step at this place was the last that reads some buffers."""
        for buffer in [b for b in self._held if self._dies.get(b, -1) == place]:
            self.give_planes(self._held[buffer])
            self._dies[buffer] = -1

    def address(self, buffer: int) -> int:
        """Of a buffer's first pixel."""
        root, floats = self._inside.get(buffer, (buffer, 0))
        return self._held[root] + 4 * floats

    def of(self, view: View) -> int:
        """Of a view whose offset counts vectors."""
        return self.address(view.buffer) + 4 * LANES * view.offset

    def _new(self, floats: int, lead: int, kind: object) -> int:
        key = (floats, kind)
        free = self._free.get(key)
        if free:
            address = free.pop()
        else:
            memory = aligned(4 * floats)
            self._kept.append(memory)
            address = memory.ctypes.data + 4 * lead
        self._keys[address] = key
        return address


def _insides(graph: LaneGraph, places: Places) -> dict[int, tuple[int, int]]:
    """Buffers that are copied whole into a run of another's channels are written there at once.

    Returns:
        Buffer -> (the other one, floats to its first channel there).
    """
    found: dict[int, tuple[int, int]] = {}
    for step in graph.steps:
        for instruction in step.instructions if isinstance(step, RowStep) else ():
            source, target = instruction.arguments[0], instruction.out
            if instruction.op != "copy" or not isinstance(source, View):
                continue
            try:
                first, count, plane = places.whole(target)
                whole = places.whole(source) == (0, count, plane)
            except LinesRefusedError:
                continue
            shape = places.shapes[source.buffer]
            free = source.buffer not in found and target.buffer not in found
            free = free and source.buffer not in {root for root, _ in found.values()} | {0}
            if whole and free and shape is not None and shape[0] == count:
                found[source.buffer] = (target.buffer, first * plane.channel)
    return found
