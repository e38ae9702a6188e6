"""A network of lanes: memory laid out once, its steps run for each group of images."""

from __future__ import annotations

import ctypes
import math
import time
from collections import Counter
from collections.abc import Callable

from sparsebench.exporters.kernels.compiled.pages import aligned
from sparsebench.exporters.kernels.generated.convolution import GeneratedConvolution, Planes
from sparsebench.exporters.kernels.lanes.calls import (
    Addresses,
    RowCalls,
    product_call,
    window_call,
)
from sparsebench.exporters.kernels.lanes.layer_network import (
    Array,
    LayerNetwork,
    Tell,
    why_no_code,
)
from sparsebench.exporters.kernels.lanes.library import LaneLibrary
from sparsebench.exporters.kernels.lanes.pattern import PatternCall
from sparsebench.exporters.kernels.lanes.reader import LaneGraph
from sparsebench.exporters.kernels.lanes.steps import (
    LayerStep,
    ProductStep,
    RowStep,
    Step,
    written,
)
from sparsebench.exporters.kernels.lanes.values import View
from sparsebench.models.errors import SparsebenchError

_LINE = 64
_MOST = 16 << 30  # bytes of values


class LaneNetwork(LayerNetwork):
    """As :class:`LayerNetwork`, an image in each lane.

    Args:
        generated: whether code is generated, where it can be.
    """

    def __init__(
        self,
        graph: LaneGraph,
        batch_size: int,
        input_shape: tuple[int, int, int],
        kernels: LaneLibrary,
        threads: int,
        generated: bool = True,
    ) -> None:
        super().__init__(graph, batch_size, input_shape, kernels, threads)
        self._vector = 4 * kernels.lanes
        groups = -(-batch_size // kernels.lanes)
        counts = [min(kernels.lanes, batch_size - kernels.lanes * i) for i in range(groups)]
        self.parts = [(count, "lanes") for count in counts]
        self.why_not = why_no_code(graph, kernels) if generated else "It was not asked for."
        self.paths = ["compiled" if self.why_not else "generated"] * groups
        self._steps: list[tuple[str, str, Callable[[], object]]] = []
        self._compile()

    def _run(self, images: Array, found: Array, tell: Tell | None) -> None:
        _, channels, height, width = self._shape
        output = self._graph.output
        first = 0
        for count, _ in self.parts:
            given = images[first : first + count]
            self.kernels.gather(
                given.ctypes.data, count, channels, height * width, self._begins[0], self.threads
            )
            for name, kind, step in self._steps:
                if tell is None:
                    step()
                    continue
                start = time.perf_counter()
                step()
                tell(name, kind, time.perf_counter() - start)
            self.kernels.scatter(
                self._addresses.of(output),
                output.strides[1],
                output.shape[1],
                count,
                found[first:].ctypes.data,
            )
            first += count

    def _compile(self) -> None:
        steps, sizes = self._graph.steps, self._graph.sizes
        readers = self._readers
        begins, total = _laid_out(steps, sizes, self._graph.output, readers, self._vector)
        self._memory = aligned(total)
        base = self._memory.ctypes.data
        self._begins = [base + begin for begin in begins]
        self._addresses = addresses = Addresses(self._begins, self._vector)
        extents = sizes
        rows = {id(s): RowCalls(s, addresses, readers) for s in steps if isinstance(s, RowStep)}
        workers = 8 * self.threads if self.threads > 1 else 1
        most = max((call.room * call.registers for call in rows.values()), default=1)
        self._scratch = aligned(workers * most * self._vector)
        made: list[GeneratedConvolution] = []
        for step in steps:
            if isinstance(step, LayerStep):
                self._layer(step, extents, made)
            elif isinstance(step, RowStep):
                self._rows(rows[id(step)], most)
            elif isinstance(step, ProductStep):
                self._structure("Product", "product", product_call(step, addresses))
            else:
                self._structure("Pool", "window", window_call(step, addresses))
        if made:
            self._place(made)

    def _rows(self, call: RowCalls, most: int) -> None:
        scratch, kernels, threads = self._scratch.ctypes.data, self.kernels, self.threads
        given, room = ctypes.addressof(call.c), call.room
        self._kept.append(call)
        self._steps.append(("", "Rows", lambda: kernels.rows(given, scratch, room, most, threads)))

    def _structure(self, kind: str, function: str, what: ctypes.Structure) -> None:
        call, threads = getattr(self.kernels, function), self.threads
        self._steps.append(("", kind, lambda: call(ctypes.addressof(what), threads)))

    def _layer(self, step: LayerStep, extents: list[int], made: list[GeneratedConvolution]) -> None:
        kernels, threads, of = self.kernels, self.threads, self._addresses.of
        residual = None if step.residual is None else of(step.residual)
        inp, out = of(step.inp), of(step.out)
        path = "compiled" if self.why_not else "generated"
        what: GeneratedConvolution | PatternCall
        if self.why_not:
            what = PatternCall(step, self._vector)
            call = kernels.sparse
        else:
            what = GeneratedConvolution(
                step.weight,
                step.bias,
                step.geometry,
                _planes(step.inp, extents, kernels.lanes),
                _planes(step.out, extents, kernels.lanes),
                step.act,
                step.residual is not None,
            )
            call = kernels.generated
            made.append(what)
        self.multiply_adds[step.name, path] += what.multiply_adds * len(self.parts)
        given = ctypes.addressof(what.c)
        self._kept.append(what)
        self._steps.append((step.name, path, lambda: call(given, inp, out, residual, threads)))


def _planes(view: View, extents: list[int], lanes: int) -> Planes:
    _, height, width = view.shape
    channel, row, column = view.strides
    size = extents[view.buffer]
    return Planes(height, width, row, column, False, 1, size, channel, lanes=lanes)


def _laid_out(
    steps: list[Step], sizes: list[int], output: View, readers: Counter[int], vector: int
) -> tuple[list[int], int]:
    """Where each buffer begins, bytes, and how many all take: what lives apart shares memory."""
    born: dict[int, int] = {0: -1}
    dies: dict[int, int] = {}
    for place, step in enumerate(steps):
        for view in written(step):
            born.setdefault(view.buffer, place)
            dies[view.buffer] = max(dies.get(view.buffer, place), place)
        for view in step.reads:
            dies[view.buffer] = place
    dies[output.buffer] = len(steps)
    begins, used, top = [0] * len(sizes), dict[int, tuple[int, int]](), 0
    # Whole lines apart, so that two values never share one.
    for buffer in sorted(born, key=lambda b: born[b]):
        used = {b: span for b, span in used.items() if dies.get(b, -1) >= born[buffer]}
        size = math.ceil(sizes[buffer] * vector / _LINE) * _LINE
        first = 0
        for begin, end in sorted(used.values()):
            if first + size <= begin:
                break
            first = max(first, end)
        begins[buffer], used[buffer] = first, (first, first + size)
        top = max(top, first + size)
    if top > _MOST:
        raise SparsebenchError(
            f"The values of these layers take {top / 1e9:.1f} GB.", "Take smaller images."
        )
    return begins, top
