"""Joining elementwise steps into programs that run on a row while it is in the first cache."""

from __future__ import annotations

from collections import Counter

from sparsebench.exporters.kernels.lanes.steps import REDUCES, Instruction, RowStep, Step
from sparsebench.exporters.kernels.lanes.values import View

_MOST = 48  # instructions of a program
_ROOT_HALF = 0.7071067811865476


def join_rows(steps: list[Step]) -> list[Step]:
    """Neighbouring row steps over the same rows as one; what only they read is never stored."""
    joined: list[Step] = []
    for step in steps:
        last = joined[-1] if joined else None
        if isinstance(step, RowStep) and isinstance(last, RowStep) and _fits(last, step):
            _append(last, step)
        else:
            joined.append(step)
    return joined


def _fits(first: RowStep, second: RowStep) -> bool:
    """Whether the second can run row by row behind the first."""
    axis = first.axis
    if len(first.shape) != len(second.shape):
        return False
    length = second.shape[axis]
    outer = second.shape[:axis] + second.shape[axis + 1 :]
    if outer != first.outer or len(first.instructions) + len(second.instructions) > _MOST:
        return False
    if length not in (1, first.shape[axis]) and first.shape[axis] != 1:
        return False
    along = any(i.op in REDUCES or i.out.shape[axis] > 1 for i in second.instructions)
    if second.axis != axis and along:
        return False
    # What it reads of the first must be that row, whole.
    made = {i.out.buffer: i for i in first.instructions}
    for instruction in second.instructions:
        for argument in instruction.arguments:
            if isinstance(argument, View) and argument.buffer in made:
                out = made[argument.buffer].out
                alike = zip(out.shape, argument.shape, strict=True)
                if any(own not in (1, size) for own, size in alike):
                    return False
                if argument != out.broadcast(argument.shape):
                    return False
    return True


def _append(first: RowStep, second: RowStep) -> None:
    made = {i.out.buffer: i for i in first.instructions}
    for instruction in second.instructions:
        instruction.arguments = [
            made.get(a.buffer, a) if isinstance(a, View) else a for a in instruction.arguments
        ]
        first.instructions.append(instruction)
    axis = first.axis
    length = max(first.shape[axis], second.shape[axis])
    first.shape = (*first.shape[:axis], length, *first.shape[axis + 1 :])


def recognise_gelu(step: RowStep, readers: Counter[int]) -> None:
    """``x * (1 + erf(x / sqrt 2)) / 2`` as one instruction.

    Args:
        step: its instructions are changed in place.
        readers: buffer -> how many instructions and other steps read it.
    """
    users: dict[int, list[Instruction]] = {}
    for instruction in step.instructions:
        for argument in instruction.arguments:
            if isinstance(argument, Instruction):
                users.setdefault(id(argument), []).append(instruction)

    def only_user(instruction: Instruction, op: str) -> Instruction | None:
        found = users.get(id(instruction), [])
        alone = len(found) == 1 and readers[instruction.out.buffer] == 1
        return found[0] if alone and found[0].op == op else None

    for erf in [i for i in step.instructions if i.op == "erf"]:
        scaled = erf.arguments[0]
        if not isinstance(scaled, Instruction) or only_user(scaled, "erf") is None:
            continue
        x = scaled.arguments[0]
        factor = scaled.arguments[1] if len(scaled.arguments) > 1 else None
        if not isinstance(factor, float):
            continue
        root = factor if scaled.op == "mul" else 1 / factor if scaled.op == "div" else 0.0
        plus = only_user(erf, "add")
        if plus is None or abs(root - _ROOT_HALF) > 1e-6 or 1.0 not in plus.arguments:
            continue
        chain, current, factors = [scaled, erf, plus], plus, 1.0
        product = False
        while (following := only_user(current, "mul")) is not None:
            other = [a for a in following.arguments if a is not current]
            if len(other) == 1 and isinstance(other[0], float):
                factors *= other[0]
            elif len(other) == 1 and not product and _same(other[0], x):
                product = True
            else:
                break
            chain.append(following)
            current = following
            if product and factors == 0.5:
                break
        if product and factors == 0.5:
            current.op, current.arguments = "gelu", [x]
            for gone in chain[:-1]:
                step.instructions.remove(gone)


def recognise_silu(step: RowStep, readers: Counter[int]) -> None:
    """``x * sigmoid(x)`` as one instruction; arguments as of :func:`recognise_gelu`."""
    for product in [i for i in step.instructions if i.op == "mul"]:
        for gate, x in (product.arguments, product.arguments[::-1]):
            if not isinstance(gate, Instruction) or gate.op != "sigmoid":
                continue
            if _same(gate.arguments[0], x) and readers[gate.out.buffer] == 1:
                step.instructions.remove(gate)
                product.op, product.arguments = "silu", [x]
                break


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, View) and isinstance(other, View) and one == other)
