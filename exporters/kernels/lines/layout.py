"""Where the pixels of lines lie, and a lane graph's views as places in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sparsebench.exporters.kernels.lanes.reader import LaneGraph
from sparsebench.exporters.kernels.lanes.steps import LayerStep
from sparsebench.exporters.kernels.lanes.values import View
from sparsebench.models.errors import SparsebenchError

LANES = 16


class LinesRefusedError(SparsebenchError):
    """A network cannot run in lines; its cause says why."""


@dataclass(frozen=True)
class Taps:
    """What a layer reads, as shifts over planes of the size of its output.

    Attributes:
        phases: (row, column) modulo the stride of each copy of the input that is read.
        of: (kernel row, kernel column) -> (phase, shift down, shift right).
    """

    phases: tuple[tuple[int, int], ...]
    of: dict[tuple[int, int], tuple[int, int, int]]

    @property
    def shifts(self) -> list[tuple[int, int]]:
        """(down, right) that occur."""
        return sorted({shift[1:] for shift in self.of.values()})


def taps_of(step: LayerStep) -> Taps:
    """A layer's taps; with a stride its input is taken apart into one plane for each phase.

    Raises:
        LinesRefusedError: the output's planes are smaller than what is read.
    """
    g = step.geometry
    size, out = step.inp.shape[1:], step.out.shape[1:]
    axes = []
    for axis in (0, 1):
        found = []
        for tap in range(g.kernel[axis]):
            at = g.dilation[axis] * tap - g.padding[axis]
            phase, shift = at % g.stride[axis], at // g.stride[axis]
            have = len(range(phase, size[axis], g.stride[axis]))
            if have > out[axis] and shift > 0:
                raise LinesRefusedError(f"'{step.name}' has no padding for its borders.")
            found.append((phase, shift))
        axes.append(found)
    pairs = [(i, j) for i in range(g.kernel[0]) for j in range(g.kernel[1])]
    phases = sorted({(axes[0][i][0], axes[1][j][0]) for i, j in pairs})
    number = {phase: i for i, phase in enumerate(phases)}
    of = {
        (i, j): (number[axes[0][i][0], axes[1][j][0]], axes[0][i][1], axes[1][j][1])
        for i, j in pairs
    }
    return Taps(tuple(phases), of)


@dataclass(frozen=True)
class Plane:
    """The line of one channel, floats.

    Attributes:
        height: rows.
        width: pixels of a row.
        pitch: distance of two rows; zeros fill the rest.
        body: of the rows, a multiple of the lanes.
        apart: zeros between two channels, and in front of the first.
    """

    height: int
    width: int
    pitch: int
    body: int
    apart: int

    @property
    def channel(self) -> int:
        """Distance of two channels."""
        return self.body + self.apart

    def floats(self, channels: int) -> int:
        """Of a tensor, the zeros in front of it included."""
        return self.apart + channels * self.channel


def takes_apart(step: LayerStep) -> bool:
    """Whether a layer reads copies of its input: with a stride, or where planes change size."""
    return step.geometry.stride != (1, 1) or step.inp.shape[1:] != step.out.shape[1:]


def planes_for(
    sizes: Iterable[tuple[int, int]], layers: Iterable[LayerStep]
) -> dict[tuple[int, int], Plane]:
    """(height, width) -> a line whose zeros are enough for every layer over planes of this size."""
    reach: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for step in layers:
        out = (step.out.shape[1], step.out.shape[2])
        reach.setdefault(out, []).extend(taps_of(step).shifts)
    found = {}
    for height, width in sizes:
        shifts = reach.get((height, width), [])
        gap = max((abs(x) for _, x in shifts), default=0)
        rows = max((abs(y) for y, _ in shifts), default=0)
        pitch = width + gap
        body = _whole(height * pitch)
        apart = _whole(rows * pitch + gap)
        if (body + apart) // LANES % 2 == 0:
            apart += LANES  # channels then do not fall into the same sets of the caches
        found[height, width] = Plane(height, width, pitch, body, apart)
    return found


def _whole(floats: int) -> int:
    return -(-floats // LANES) * LANES


class Places:
    """Buffers of a lane graph as lines, or as they are where they hold no planes.

    Args:
        graph: what is executed.

    Attributes:
        shapes: buffer -> (channels, its plane), or None.

    Raises:
        LinesRefusedError: see :func:`taps_of`.
    """

    def __init__(self, graph: LaneGraph) -> None:
        planar = [_planar(view) for view in graph.made]
        sizes = {shape[1:] for shape in planar if shape}
        planes = planes_for(sizes, graph.layers)
        self.shapes = [(s[0], planes[s[1:]]) if s else None for s in planar]
        self._sizes = graph.sizes

    def floats(self, buffer: int) -> int:
        """Of a buffer."""
        shape = self.shapes[buffer]
        return _whole(self._sizes[buffer]) if shape is None else shape[1].floats(shape[0])

    def of(self, view: View) -> tuple[int, tuple[int, ...]]:
        """(offset, strides) of a view in floats, from the first pixel of its buffer.

        Raises:
            LinesRefusedError: it does not keep to rows and columns.
        """
        shape = self.shapes[view.buffer]
        if shape is None:
            return view.offset, view.strides
        channels, plane = shape
        row = plane.width * channels
        first = [view.offset // row, view.offset % row // channels, view.offset % channels]
        last, strides = list(first), []
        steps = (plane.pitch, 1, plane.channel)
        for size, stride in zip(view.shape, view.strides, strict=True):
            if size == 1 or stride == 0:
                strides.append(0)
                continue
            axis, unit = next(
                (i, unit) for i, unit in enumerate((row, channels, 1)) if stride % unit == 0
            )
            last[axis] += (size - 1) * stride // unit
            strides.append(stride // unit * steps[axis])
        most = (plane.height, plane.width, channels)
        if any(not 0 <= end < size for end, size in zip(last, most, strict=True)):
            raise LinesRefusedError("A value is looked at across the rows of its planes.")
        return sum(a * b for a, b in zip(first, steps, strict=True)), tuple(strides)

    def whole(self, view: View) -> tuple[int, int, Plane]:
        """(first channel, channels, plane) of a view ``[C, H, W]`` or ``[1, C, H, W]``.

        Raises:
            LinesRefusedError: it is no run of channels of whole planes.
        """
        shape = self.shapes[view.buffer]
        if shape is not None:
            offset, strides = self.of(view)
            _, plane = shape
            count, *sizes = view.shape[-3:]
            steps = [s or 1 for s in strides[-3:]]
            usual = (plane.channel, plane.pitch, 1)
            fits = all(
                n == 1 or s == u for n, s, u in zip(view.shape[-3:], steps, usual, strict=True)
            )
            if fits and sizes == [plane.height, plane.width] and offset % plane.channel == 0:
                return offset // plane.channel, count, plane
        raise LinesRefusedError("An operator does not take whole planes.")


def _planar(view: View) -> tuple[int, int, int] | None:
    """(C, H, W) of a buffer of planes, its channels side by side as made; else None."""
    if len(view.shape) == 4 and view.shape[0] == 1:
        _, channels, height, width = view.shape
        usual = (1, width * channels, channels)
        pairs = zip(view.shape[1:], view.strides[1:], usual, strict=True)
        if all(size == 1 or stride == own for size, stride, own in pairs):
            return channels, height, width
    return None
