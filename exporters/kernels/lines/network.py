"""A network of lines: memory laid out once, its steps run for each image."""

from __future__ import annotations

import ctypes
import time

import numpy as np

from sparsebench.exporters.kernels.generated.memory import no_code
from sparsebench.exporters.kernels.lanes.calls import RowCalls
from sparsebench.exporters.kernels.lanes.layer_network import (
    Array,
    LayerNetwork,
    Tell,
    why_no_code,
)
from sparsebench.exporters.kernels.lanes.library import (
    CCopy,
    CEdges,
    CLines,
    CStep,
    LaneLibrary,
)
from sparsebench.exporters.kernels.lanes.reader import LaneGraph
from sparsebench.exporters.kernels.lanes.steps import (
    Instruction,
    LayerStep,
    RowStep,
    WindowStep,
    written,
)
from sparsebench.exporters.kernels.lanes.values import View, strides_for
from sparsebench.exporters.kernels.lines.convolution import LineConvolution
from sparsebench.exporters.kernels.lines.layout import (
    LinesRefusedError,
    Plane,
    takes_apart,
    taps_of,
)
from sparsebench.exporters.kernels.lines.memory import LineMemory
from sparsebench.exporters.kernels.lines.rows import line_rows
from sparsebench.models.errors import SparsebenchError

GENERATED = "generated"
COPY, EDGES, WINDOW, LAYER, ROWS = range(5)
"""What `lines_run` of lines.cpp executes."""


class LineNetwork(LayerNetwork):
    """As :class:`LayerNetwork`, the neighbouring pixels of one image in the lanes.

    Raises:
        LinesRefusedError: some operator does not keep to whole planes, or no code can be generated.
    """

    why_not = ""

    def __init__(
        self,
        graph: LaneGraph,
        batch_size: int,
        input_shape: tuple[int, int, int],
        kernels: LaneLibrary,
        threads: int,
    ) -> None:
        # A line is sixteen pixels of one register.
        if refused := no_code(kernels.isa, "float32") or why_no_code(graph, kernels):
            raise LinesRefusedError(refused)
        super().__init__(graph, batch_size, input_shape, kernels, threads)
        self.parts = [(batch_size, "lines")]
        self.paths = [GENERATED]
        self._names: list[tuple[str, str]] = []  # of each step: layer or nothing, kind
        self._list: list[CStep] = []
        self._made: list[LineConvolution] = []
        self._memory = LineMemory(graph)
        # What is read across rows needs zeros behind them.
        self._across = {
            self._memory.root(step.inp.buffer)
            for step in graph.layers
            if not takes_apart(step) and taps_of(step).shifts != [(0, 0)]
        }
        size = (1, *input_shape)
        images = View(-1, 0, size, strides_for(size, range(4)))
        self._copied(images, graph.made[0])
        for place, step in enumerate(graph.steps):
            for view in written(step):
                self._memory.take(view.buffer)
            if isinstance(step, LayerStep):
                self._layer(step)
            elif isinstance(step, RowStep):
                self._rows(step)
            elif isinstance(step, WindowStep):
                self._window(step)
            else:
                raise LinesRefusedError("A product of two values does not keep to planes.")
            self._memory.drop_read(place)
        try:
            self._place(self._made)
        except SparsebenchError as error:
            raise LinesRefusedError(error.cause) from error
        self._copied(graph.output, View(-1, 0, graph.output.shape, (0, 1)))
        self._calls = (CStep * len(self._list))(*self._list)

    def _run(self, images: Array, found: Array, tell: Tell | None) -> None:
        run, calls, threads = self.kernels.lines_run, self._calls, self.threads
        for image, row in zip(images, found, strict=True):
            calls[0].a, calls[len(calls) - 1].b = image.ctypes.data, row.ctypes.data
            if tell is None:
                run(calls, len(calls), threads)
                continue
            for call, (name, kind) in zip(calls, self._names, strict=True):
                start = time.perf_counter()
                run(ctypes.addressof(call), 1, threads)
                tell(name, kind, time.perf_counter() - start)

    def _add(
        self, names: tuple[str, str], kind: int, what: ctypes.Structure, *places: int, **more: int
    ) -> None:
        self._kept.append(what)
        self._names.append(names)
        self._list.append(CStep(kind, ctypes.addressof(what), *places, **more))

    def _edges(self, view: View, name: str = "", kind: str = "Edges") -> None:
        """Zeros where a step left garbage and another one reads."""
        first, count, plane = self._memory.places.whole(view)
        read = self._memory.root(view.buffer) in self._across
        if read and plane.height * plane.width < plane.body:
            what = CEdges(count, plane.channel, plane.height, plane.width, plane.pitch, plane.body)
            address = self._memory.address(view.buffer) + 4 * first * plane.channel
            self._add((name, kind), EDGES, what, address)

    def _at(self, view: View) -> int:
        first, _, plane = self._memory.places.whole(view)
        return self._memory.address(view.buffer) + 4 * first * plane.channel

    def _layer(self, step: LayerStep) -> None:
        _, _, plane = self._memory.places.whole(step.out)
        taps, x = taps_of(step), self._at(step.inp)
        apart: int | None = None
        if takes_apart(step):
            apart = x = self._phases(step, taps.phases, plane)
        residual = 0
        if step.residual is not None:
            if self._memory.places.whole(step.residual)[2] != plane:
                raise LinesRefusedError("Values of two sizes are added.")
            residual = self._at(step.residual)
        layer = LineConvolution(step, taps, plane)
        self._made.append(layer)
        self.multiply_adds[step.name, GENERATED] += layer.multiply_adds * self._shape[0]
        names, y = (step.name, GENERATED), self._at(step.out)
        self._add(names, LAYER, layer.c, x, y, residual)
        self._edges(step.out, step.name, GENERATED)
        if apart is not None:
            self._memory.give_planes(apart)

    def _phases(self, step: LayerStep, phases: tuple[tuple[int, int], ...], plane: Plane) -> int:
        """The input taken apart by its places modulo the stride; a channel's lie together."""
        channels, height, width = step.inp.shape
        (down, across), count = step.geometry.stride, len(phases)
        address = self._memory.take_planes(channels * count, plane, clean=True)
        for number, (row, column) in enumerate(phases):
            rows = min(plane.height, len(range(row, height, down)))
            columns = min(plane.width, len(range(column, width, across)))
            piece = step.inp.changed(
                lambda a, r=row, c=column, h=rows, w=columns: a[:, r::down, c::across][:, :h, :w]  # type: ignore[misc]
            )
            assert piece is not None
            offset, strides = self._memory.places.of(piece)
            what = CCopy()
            _fill(what, piece.shape, strides, (count * plane.channel, plane.pitch, 1))
            source = self._memory.address(step.inp.buffer) + 4 * offset
            target = address + 4 * number * plane.channel
            self._add((step.name, GENERATED), COPY, what, source, target)
        return address

    def _window(self, step: WindowStep) -> None:
        g, places = step.geometry, self._memory.places
        if g.dilation != (1, 1):
            raise LinesRefusedError("A window has gaps.")
        (_, _, inp), (_, channels, out) = places.whole(step.inp), places.whole(step.out)
        what = CLines(
            *(channels, out.height, out.width, inp.height, inp.width),
            *(*g.kernel, *g.stride, g.padding[0], g.padding[1]),
            *(inp.channel, inp.pitch, out.channel, out.pitch, step.mean, step.count_all),
        )
        self._add(("", "Pool"), WINDOW, what, self._at(step.inp), self._at(step.out))
        self._edges(step.out)

    def _rows(self, step: RowStep) -> None:
        """Copies one by one, the operators between them as programs over lines."""
        program: list[Instruction] = []
        for instruction in step.instructions:
            source = instruction.arguments[0]
            source = source.out if isinstance(source, Instruction) else source
            if instruction.op == "copy" and isinstance(source, View):
                self._program(program)
                program = []
                self._copied(source, instruction.out)
            else:
                program.append(instruction)
        self._program(program)

    def _copied(self, source: View, target: View) -> None:
        if self._memory.root(source.buffer) == target.buffer:
            return  # it was written there
        what, sides, places = CCopy(), [], []
        for view in (source, target):
            own = view.buffer < 0  # comes with every call
            offset, strides = (0, view.strides) if own else self._memory.places.of(view)
            sides.append(strides)
            places.append(0 if own else self._memory.address(view.buffer) + 4 * offset)
        _fill(what, target.shape, *sides)
        self._add(("", "Copy"), COPY, what, *places)
        if self._memory.root(target.buffer) in self._across:
            self._edges(self._graph.made[target.buffer])

    def _program(self, instructions: list[Instruction]) -> None:
        if not instructions:
            return
        lifted = line_rows(instructions, self._memory.places)
        call = RowCalls(lifted, self._memory, self._readers)
        room = call.room * call.registers
        scratch = np.zeros(
            (8 * self.threads if self.threads > 1 else 1) * room * 16 + 16, np.float32
        )
        first = scratch.ctypes.data + -scratch.ctypes.data % 64
        self._kept += [call, scratch]
        self._add(("", "Rows"), ROWS, call.c, first, room=call.room, each=room)
        for instruction in instructions:
            self._edges(instruction.out)


def _fill(what: CCopy, shape: tuple[int, ...], inp: tuple[int, ...], out: tuple[int, ...]) -> None:
    """A copy's sizes and distances; axes of size 1 are left out.

    Raises:
        LinesRefusedError: there are more than four axes.
    """
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    if len(axes) > 4:
        raise LinesRefusedError(f"A value of {len(axes)} axes is copied.")
    lead = 4 - len(axes)
    for name, values, rest in (("size", shape, 1), ("inp", inp, 0), ("out", out, 0)):
        getattr(what, name)[:] = [rest] * lead + [values[axis] for axis in axes]
    if not axes:
        what.inp[3] = what.out[3] = 1
