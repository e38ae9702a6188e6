"""Sums of bytes as machine code: unsigned activations, signed weights, int32 sums.

A vector holds four channels of 16 lanes. A multiply-add takes four input channels at once (a
*four*), so one that holds any weight that is not zero costs as much as one of four: zeros in
aligned blocks of four input channels save all of their time, single zeros only where they leave
nothing. Sums are exact. What is made of them: times a scale for each output channel, plus a
residual, activation, and either float lanes or bytes again, four channels in a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.library import NONE, RELU6
from sparsebench.exporters.kernels.generated import byte_encoding as byte86
from sparsebench.exporters.kernels.generated import encoding as x86
from sparsebench.exporters.kernels.generated.emitter import (
    MIDDLE,
    TOTALS,
    Code,
    Indices,
    Kind,
    Shape,
)

FOUR = 4
_VECTOR = 64  # bytes
_GATHER, _TAKE = 0, 1  # vectors at the beginning of the stream: see `_controls`
_CONTROLS = 5 * 16  # floats
_SCALARS = 4
_RESIDUAL, _SHIFT, _CAP, _ZERO_POINT = range(_SCALARS)  # behind biases and scales
_ADDED, _TAKEN, _ZERO = TOTALS, TOTALS + 2, TOTALS + 3  # registers once the sums are done


@dataclass(frozen=True)
class Finish:
    """What becomes of the sums of a layer: ``y = act(sum * scale + residual)``.

    Attributes:
        act: activation, see :mod:`exporters.kernels.library`.
        out_bytes: whether bytes are stored, else floats.
        zero_point: of the output's bytes.
        residual: ``bytes``, ``floats`` or nothing.
        shifted: whether a constant is added, for a residual whose zero is another byte than 0.
        capped: whether there is a largest value, see :meth:`ByteCode.stream`.
    """

    act: int
    out_bytes: bool
    zero_point: int = 0
    residual: str = ""
    shifted: bool = False
    capped: bool = False


def kind_of(finish: Finish) -> Kind:
    """For :func:`emitter.emit`, whose input channels are fours then."""
    return Kind(
        byte86.dot_broadcast,
        groups_of_fours,
        lambda sizes: 2 * sizes + _SCALARS,
        partial(_frame, finish),
        _CONTROLS,
    )


def groups_of_fours(channels: int) -> Indices:
    """``[groups + 1]``: output channels of about equal groups, all of whole fours."""
    fours, most = channels // FOUR, TOTALS // FOUR
    count = -(-fours // most)
    return np.arange(count + 1) * fours // count * FOUR


def byte_stream(
    code: Code,
    weights: NDArray[np.int8],
    bias: NDArray[np.int32],
    scale: NDArray[np.float32],
    residual_scale: float,
    shift: float,
    cap: float,
    zero_point: int,
) -> NDArray[np.float32]:
    """The stream that such code reads, aligned to 64 bytes.

    Args:
        code: emitted.
        weights: of the fours in the order of the pattern, ``[n, 4]``.
        bias: ``[O]``, what sums begin with.
        scale: ``[O]``, of the sums.
        residual_scale: of the residual.
        shift: is added.
        cap: the largest value before it is rounded.
        zero_point: is added to rounded values.
    """
    stream = code.stream(np.zeros(len(code.order), np.float32), None)
    integers = stream.view(np.int32)
    integers[:_CONTROLS] = _controls()
    integers[code.values_at] = np.ascontiguousarray(weights).view(np.int32)[code.order, 0]
    integers[code.bias_at] = bias
    sizes = np.diff(groups_of_fours(len(bias)))
    stream[code.bias_at + np.repeat(sizes, sizes)] = scale
    scalars = code.begins[:-1] + 2 * sizes
    stream[scalars + _RESIDUAL], stream[scalars + _SHIFT] = residual_scale, shift
    stream[scalars + _CAP], integers[scalars + _ZERO_POINT] = cap, zero_point
    return stream


def _controls() -> NDArray[np.int32]:
    """Shuffles: 4x4 bytes transposed; byte 0, 1, 2, 3 of each lane in a lane of its own."""
    at = np.arange(16).reshape(4, 4)
    found = np.full((5, 4, 4), 128, np.uint8)
    found[_GATHER] = at.T
    found[_TAKE:, :, 0] = at.T
    return np.repeat(found.reshape(5, 1, 16), 4, 1).reshape(-1).view(np.int32)


def _frame(
    finish: Finish, shape: Shape, bounds: Indices, unit: int, begin: int
) -> tuple[x86.Slots, x86.Slots]:
    """What a unit does before and after its multiply-adds."""
    first, count = int(bounds[unit]), int(bounds[unit + 1] - bounds[unit])
    totals = np.arange(count)
    constants = x86.address(x86.R10, x86.RCX, 4 * (begin + MIDDLE))
    head = [constants, x86.broadcast(totals, x86.R10, totals - MIDDLE)]
    scalar = 2 * count - MIDDLE
    tail = [constants, byte86.to_float(totals, totals)]
    tail.append(byte86.multiply_broadcast(totals, x86.R10, count + totals - MIDDLE))
    if finish.residual:
        tail += _residual(finish, first, count, scalar + _RESIDUAL)
    if finish.shifted:
        tail.append(byte86.add_broadcast(totals, x86.R10, scalar + _SHIFT))
    # Bytes have no sign: what is below zero becomes 0 where that byte means zero.
    if finish.act != NONE and not (finish.out_bytes and finish.zero_point == 0):
        tail += [x86.clear(_ZERO), x86.maximum(totals, _ZERO)]
    if finish.capped or finish.act == RELU6:
        tail.append(byte86.minimum_broadcast(totals, x86.R10, scalar + _CAP))
    stored = totals
    if finish.out_bytes:
        tail.append(byte86.to_integer(totals, totals))
        if finish.zero_point:
            tail.append(byte86.add_integer(totals, x86.R10, scalar + _ZERO_POINT))
        stored = totals[::FOUR]
        tail.append(byte86.pack_words(totals[::2], totals[1::2]))
        tail.append(byte86.pack_bytes(stored, stored + 2))
        tail.append(byte86.shuffle(stored, stored, x86.RCX, _GATHER))
    place = _VECTOR * (first // FOUR if finish.out_bytes else first)
    tail.append(x86.address(x86.RAX, x86.R11, place + _VECTOR * MIDDLE))
    tail.append(x86.store(stored, x86.RAX, np.arange(len(stored)) - MIDDLE))
    return np.concatenate(head), np.concatenate(tail)


def _residual(finish: Finish, first: int, count: int, scale: int) -> list[x86.Slots]:
    """Adds the residual times a scale to the outputs of a group."""
    of_bytes = finish.residual == "bytes"
    place = _VECTOR * ((first // FOUR if of_bytes else first) + MIDDLE)
    if of_bytes == finish.out_bytes:
        found = [x86.address(x86.RAX, x86.R11, place), x86.add_register(x86.RAX, x86.RDX)]
    else:
        found = [byte86.scaled_residual(finish.out_bytes), x86.address(x86.RAX, x86.RAX, place)]
    totals = np.arange(count)
    if not of_bytes:
        added = _ADDED + totals % 4
        loads = x86.load(added, x86.RAX, totals - MIDDLE)
        steps = np.stack([loads, x86.fma_broadcast(totals, added, x86.R10, scale)], axis=1)
        return [*found, steps.reshape(-1, x86.SLOT)]
    four, which = np.divmod(totals, FOUR)
    added, taken = _ADDED + four % 2, _TAKEN + which % 2
    steps = np.stack(
        [
            x86.load(added, x86.RAX, four - MIDDLE),
            byte86.shuffle(taken, added, x86.RCX, _TAKE + which),
            byte86.to_float(taken, taken),
            x86.fma_broadcast(totals, taken, x86.R10, scale),
        ],
        axis=1,
    )
    wanted = np.ones(steps.shape[:2], np.bool_)
    wanted[:, 0] = which == 0  # four channels lie in one vector
    return [*found, steps[wanted]]
