"""Steps as C structures: where operands lie once memory is laid out."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.lanes.library import (
    CONSTANT,
    DIMS,
    NUMBER,
    REGISTER,
    VALUE,
    CInstruction,
    COperand,
    CPlanes,
    CProduct,
    CRows,
)
from sparsebench.exporters.kernels.lanes.steps import (
    OPS,
    REDUCES,
    Instruction,
    ProductStep,
    RowStep,
    WindowStep,
)
from sparsebench.exporters.kernels.lanes.values import View
from sparsebench.models.errors import SparsebenchError

_PIECE = 32  # vectors of a row that elementwise operators take at once: 2 KiB each


class Placed(Protocol):
    """Values whose memory is laid out."""

    def of(self, view: View) -> int:
        """Address of a view's first vector."""


class Addresses:
    """Of values: where each buffer begins, bytes."""

    def __init__(self, begins: Sequence[int], vector: int) -> None:
        self._begins, self._vector = begins, vector

    def of(self, view: View) -> int:
        """Address of a view's first vector."""
        return self._begins[view.buffer] + view.offset * self._vector


class RowCalls:
    """A program's C form, and the memory that each worker needs for it.

    Attributes:
        c: the structure.
        room: vectors of one register.
        registers: of a worker, two for operands included.
    """

    def __init__(self, step: RowStep, addresses: Placed, readers: Counter[int]) -> None:
        self._addresses = addresses
        self._kept: list[NDArray[Any]] = []
        instructions = step.instructions
        inside = Counter(
            a.out.buffer for i in instructions for a in i.arguments if isinstance(a, Instruction)
        )
        # A value is written where a step outside reads it, or other steps write parts of it.
        stored = {
            i.out.buffer for i in instructions if readers[i.out.buffer] > inside[i.out.buffer]
        }
        axes = [a for a in range(len(step.shape)) if a != step.axis]
        every = [v for i in instructions for v in (*i.arguments, i.out)]
        merged = _merged_axes(step.shape, axes, [_strides(v) for v in every])
        self._groups, self._axis = merged, step.axis
        length = step.shape[step.axis]
        reduces = any(i.op in REDUCES for i in instructions)
        piece = length if reduces else min(length, _PIECE)
        registers = _registers(instructions)
        made: list[CInstruction] = []
        for i in instructions:
            short = length > 1 and i.out.shape[step.axis] == 1
            one = CInstruction(OPS.index(i.op), int(short), keep=registers.get(id(i), -1))
            one.a = self._operand(i.arguments[0], step, registers)
            one.b = (
                self._operand(i.arguments[1], step, registers)
                if len(i.arguments) > 1
                else COperand(NUMBER)
            )
            one.out = (
                self._operand(i.out, step, registers)
                if i.out.buffer in stored
                else COperand(REGISTER)
            )
            one.first, one.second = i.numbers
            made.append(one)
        self._array = (CInstruction * len(made))(*made)
        count = 1 + max(registers.values(), default=-1)
        dims = [int(np.prod([step.shape[a] for a in group])) for group in merged]
        dims = [*[1] * (DIMS - len(dims)), *dims]
        self.c = CRows(
            (ctypes.c_int64 * DIMS)(*dims), length, piece, len(made), count,
            ctypes.addressof(self._array),
        )  # fmt: skip
        self.room, self.registers = piece, count + 2

    def _operand(
        self, given: View | NDArray[Any] | float | Instruction, step: RowStep, registers: Any
    ) -> COperand:
        if isinstance(given, Instruction):
            short = step.shape[step.axis] > 1 and given.out.shape[step.axis] == 1
            return COperand(REGISTER, registers[id(given)], length=int(short))
        if isinstance(given, float):
            return COperand(NUMBER, value=given)
        strides = _strides(given)
        assert strides is not None
        outer = [strides[group[-1]] for group in self._groups]
        outer = [*[0] * (DIMS - len(outer)), *outer]
        if isinstance(given, View):
            where, base = VALUE, self._addresses.of(given)
        else:
            self._kept.append(given)
            where, base = CONSTANT, given.__array_interface__["data"][0]
        return COperand(
            where, 0, base, (ctypes.c_int64 * DIMS)(*outer), strides[self._axis],
            length=int(step.shape[step.axis] > 1 and strides[self._axis] == 0),
        )  # fmt: skip


def _strides(value: Any) -> tuple[int, ...] | None:
    """Of a view, vectors, or of a constant, numbers; broadcast axes have 0."""
    if isinstance(value, View):
        pairs = zip(value.shape, value.strides, strict=True)
        return tuple(0 if size == 1 else stride for size, stride in pairs)
    if isinstance(value, np.ndarray):
        return tuple(stride // 4 for stride in value.strides)
    return None


def _merged_axes(
    shape: tuple[int, ...], axes: list[int], strides: list[tuple[int, ...] | None]
) -> list[list[int]]:
    """Axes in groups that can be counted as one; axes of size 1 are left out.

    Raises:
        SparsebenchError: more remain than the kernels count.
    """
    wide = [a for a in axes if shape[a] > 1]
    known = [s for s in strides if s is not None]
    groups: list[list[int]] = []
    for axis in wide:
        fits = bool(groups) and all(s[groups[-1][-1]] == s[axis] * shape[axis] for s in known)
        if fits:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) > DIMS:
        raise SparsebenchError(f"A value of {len(shape)} axes in this order is not known.")
    return groups


def _registers(instructions: list[Instruction]) -> dict[int, int]:
    """A register for each instruction that a later one reads, free again after its last reader."""
    last: dict[int, int] = {}
    for place, instruction in enumerate(instructions):
        for argument in instruction.arguments:
            if isinstance(argument, Instruction):
                last[id(argument)] = place
    found: dict[int, int] = {}
    free: list[int] = []
    count = 0
    for place, instruction in enumerate(instructions):
        # Not the registers of its own operands: a row is written while they are read.
        ended = [found[i] for i, end in last.items() if end == place - 1 and i in found]
        free += ended
        if id(instruction) in last:
            if free:
                found[id(instruction)] = free.pop()
            else:
                found[id(instruction)], count = count, count + 1
    return found


def product_call(step: ProductStep, addresses: Addresses) -> CProduct:
    """A product's C form.

    Raises:
        SparsebenchError: more leading axes than the kernels count.
    """
    a, b, out = step.a, step.b, step.out
    leading = len(out.shape) - 2
    groups = _merged_axes(
        out.shape, list(range(leading)), [_strides(v) for v in (a, b, out)]
    )  # fmt: skip

    def batch(numbers: Any) -> Any:
        listed = [numbers(group) for group in groups]
        return (ctypes.c_int64 * DIMS)(*[0] * (DIMS - len(listed)), *listed)

    def steps(view: View) -> Any:
        strides = _strides(view)
        assert strides is not None
        return batch(lambda group: strides[group[-1]])

    sizes = [int(np.prod([out.shape[axis] for axis in group])) for group in groups]
    sizes = [*[1] * (DIMS - len(sizes)), *sizes]
    return CProduct(
        (ctypes.c_int64 * DIMS)(*sizes),
        out.shape[-2], out.shape[-1], a.shape[-1],
        addresses.of(a), addresses.of(b), addresses.of(out),
        steps(a), a.strides[-2], a.strides[-1],
        steps(b), b.strides[-2], b.strides[-1],
        steps(out), out.strides[-2], out.strides[-1],
    )  # fmt: skip


def window_call(step: WindowStep, addresses: Addresses) -> CPlanes:
    """A pooling's C form."""
    g, inp, out = step.geometry, step.inp, step.out
    return CPlanes(
        *out.shape, *inp.shape[1:], *g.kernel, *g.stride, g.padding[0], g.padding[1], *g.dilation,
        addresses.of(inp), addresses.of(out), *inp.strides, *out.strides,
        int(step.mean), int(step.count_all),
    )  # fmt: skip
