"""Elementwise operators on whole planes as programs over lines."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsebench.exporters.kernels.lanes.steps import REDUCES, Instruction, RowStep
from sparsebench.exporters.kernels.lanes.values import View
from sparsebench.exporters.kernels.lines.layout import LANES, LinesRefusedError, Places, Plane

_SHORT = 16  # vectors of a line
# What these make of zeros is zero, also of a zero and any other number.
_KEEP_ZEROS = ("silu", "gelu", "tanh", "abs", "leaky", "mul")


def line_rows(instructions: list[Instruction], places: Places) -> RowStep:
    """The same program, a row for each channel's line; short lines at once with what lies between,
    where that stays zero.

    Raises:
        LinesRefusedError: an operator reduces, or takes something else than whole planes, numbers
            and one constant for each channel.
    """
    _, count, plane = places.whole(instructions[0].out)
    shape = (count, plane.body // LANES)
    numbers = all(
        isinstance(a, View | Instruction | float) for i in instructions for a in i.arguments
    )
    if shape[1] <= _SHORT and numbers and all(i.op in _KEEP_ZEROS for i in instructions):
        shape = (1, (count * plane.channel - plane.apart) // LANES)
    made: dict[int, Instruction] = {}

    def lifted(view: View) -> View:
        first, channels, own = places.whole(view)
        if own != plane or channels != count:
            raise LinesRefusedError("An operator takes planes of two sizes.")
        return _lines(view.buffer, first, shape, plane)

    def argument(given: Any) -> Any:
        if isinstance(given, float):
            return given
        if isinstance(given, Instruction):
            return made.get(id(given)) or lifted(given.out)
        if isinstance(given, View):
            return lifted(given)
        if given.ndim != 4 or any(
            s for s, n in zip(given.strides[2:], given.shape[2:], strict=True) if n > 1
        ):
            raise LinesRefusedError("A constant is no number for each channel.")
        return np.broadcast_to(np.ascontiguousarray(given[0, :, 0, 0])[:, None], shape)

    for instruction in instructions:
        if instruction.op in REDUCES:
            raise LinesRefusedError("An operator reduces a value along an axis.")
        arguments = [argument(a) for a in instruction.arguments]
        out = lifted(instruction.out)
        made[id(instruction)] = Instruction(instruction.op, arguments, out, instruction.numbers)
    return RowStep(shape, 1, list(made.values()))


def _lines(buffer: int, first: int, shape: tuple[int, int], plane: Plane) -> View:
    step = plane.channel // LANES
    return View(buffer, first * step, shape, (step, 1))
