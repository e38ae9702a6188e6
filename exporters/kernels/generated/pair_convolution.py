"""One convolution as generated code whose input or output is stored in bf16; sums are float32.

Two channels share a lane of 32 bits. The even one is the upper half, so the lane as it stands is
that channel, and shifted by 16 bits it is the odd one. The lower half only says how the upper one
is rounded: what is stored is the upper half with which the *whole* lane is nearest. So an even
channel is as exact as any other, at most 2^-8 of it away. Values are not negative: below zero the
lower half's sign would be taken for a part of the upper half. Where the even channel is zero a lane
is a number below the normal ones, so the code reads those as zeros. What is not finite stays so,
and may make the other channel of its lane a NaN.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import RELU6
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated import encoding as x86
from sparsebench.exporters.kernels.generated.byte_encoding import scaled_residual
from sparsebench.exporters.kernels.generated.convolution import GeneratedPattern, Planes
from sparsebench.exporters.kernels.generated.emitter import (
    FLOATS,
    MIDDLE,
    TOTALS,
    Indices,
    Kind,
    Shape,
    groups_of,
)

PAIR = 2
_VECTOR = 64  # bytes
_CONSTANTS = _SIX, _HALF, _UPPER = range(3)  # behind the biases in the stream
_ROUNDING = (0x8000, 0xFFFF0000)  # half of the last bit that an upper half keeps; its bits
_ADDED = 4  # registers for residuals, from TOTALS on
_HALVES, _MASK, _CAP, _ZERO = range(TOTALS, TOTALS + 4)  # registers once the sums are done


@dataclass(frozen=True)
class Stored:
    """What a layer reads and writes: pairs of bf16, else float32.

    Attributes:
        inp: whether the input is pairs.
        out: whether the output is.
        residual: ``pairs``, ``floats`` or nothing.
    """

    inp: bool
    out: bool
    residual: str = ""

    @property
    def any(self) -> bool:
        """Whether anything is pairs."""
        return self.inp or self.out or self.residual == "pairs"


class PairConvolution(GeneratedPattern):
    """``y = act(conv(x) + bias + residual)``, as :class:`GeneratedConvolution`.

    Args:
        weight: float32 ``[O, C / groups, kh, kw]``; its zeros cost nothing.
        bias: ``[O]`` or None.
        geometry: of the convolution; channels of what is stored in pairs are even in number.
        inp: shape of the input, whose channels are pairs where it is stored so.
        out: the same of the output. A residual that is stored otherwise has the same shape with
            twice the vectors or half of them.
        act: RELU or RELU6 where the output is pairs.
        stored: how they are stored.

    Raises:
        SparsebenchError: a tensor or the window is larger than the code can address.
    """

    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        geometry: Geometry,
        inp: Planes,
        out: Planes,
        act: int,
        stored: Stored,
    ) -> None:
        pattern = Pattern.of(weight != 0, geometry.groups)
        rows, columns = (geometry.forward_axis(axis, 1, 1).shifts for axis in range(2))
        super().__init__(
            (pattern.out, pattern.inp, pattern.ky * geometry.kernel[1] + pattern.kx),
            (geometry.out_channels, geometry.in_channels),
            list(itertools.product(rows, columns)),
            geometry.stride,
            inp,
            out,
            act,
            bool(stored.residual),
            kind=kind_of(stored),
        )
        self.code.fill(self.stream, weight[weight != 0], bias)
        if stored.out:
            integers = self.stream.view(np.uint32)
            for constant, bits in zip((_HALF, _UPPER), _ROUNDING, strict=True):
                integers[self.code.six_at + constant] = bits


def kind_of(stored: Stored) -> Kind:
    """For :func:`emitter.emit`."""
    plain = not stored.out and stored.residual != "pairs"
    return Kind(
        x86.fma_broadcast,
        groups_of_pairs if stored.out or stored.residual == "pairs" else groups_of,
        lambda sizes: sizes + len(_CONSTANTS),
        FLOATS.frame if plain else partial(_frame, stored),
        six=True,
        splits=plain,
        held=PAIR if stored.inp else 1,
        around=x86.DENORMALS_ARE_ZEROS,
    )


def groups_of_pairs(channels: int) -> Indices:
    """``[groups + 1]``: output channels of about equal groups, all of whole pairs."""
    pairs, most = channels // PAIR, TOTALS // PAIR
    count = -(-pairs // most)
    return np.arange(count + 1) * pairs // count * PAIR


def _frame(
    stored: Stored, shape: Shape, bounds: Indices, unit: int, begin: int
) -> tuple[x86.Slots, x86.Slots]:
    """What a unit does before and after its non-zeros; `begin`: its place in the stream."""
    first, count = int(bounds[unit]), int(bounds[unit + 1] - bounds[unit])
    totals = np.arange(count)
    constants = x86.address(x86.R10, x86.RCX, 4 * (begin + MIDDLE))
    head = [constants, x86.broadcast(totals, x86.R10, totals - MIDDLE)]
    tail = []
    if stored.residual:
        tail += _residual(stored, first, totals)
    if shape.act:
        tail += [x86.clear(_ZERO), x86.maximum(totals, _ZERO)]
    if shape.act == RELU6 or stored.out:
        tail.append(constants)
    if shape.act == RELU6:
        tail.append(x86.broadcast(_CAP, x86.R10, count + _SIX - MIDDLE))
        tail.append(x86.minimum(totals, _CAP))
    kept = totals
    if stored.out:
        even, odd = totals[::PAIR], totals[1::PAIR]
        tail += [
            x86.broadcast(_HALVES, x86.R10, count + _HALF - MIDDLE),
            x86.broadcast(_MASK, x86.R10, count + _UPPER - MIDDLE),
            x86.add_lanes(odd, _HALVES),
            x86.shift_right(odd, odd, 16),
            x86.subtract_lanes(even, odd),
            x86.add_lanes(even, _HALVES),
            x86.join_bits(even, _MASK, odd),
        ]
        kept, first = even, first // PAIR
    tail.append(x86.address(x86.RAX, x86.R11, _VECTOR * (first + MIDDLE)))
    tail.append(x86.store(kept, x86.RAX, np.arange(len(kept)) - MIDDLE))
    return np.concatenate(head), np.concatenate(tail)


def _residual(stored: Stored, first: int, totals: Indices) -> list[x86.Slots]:
    """Adds the residual to the outputs of a group."""
    of_pairs = stored.residual == "pairs"
    place = _VECTOR * ((first // PAIR if of_pairs else first) + MIDDLE)
    if of_pairs == stored.out:
        found = [x86.address(x86.RAX, x86.R11, place), x86.add_register(x86.RAX, x86.RDX)]
    else:
        found = [scaled_residual(stored.out, 1), x86.address(x86.RAX, x86.RAX, place)]
    if not of_pairs:
        return [*found, x86.add_vector(totals, x86.RAX, totals - MIDDLE)]
    even, odd = totals[::PAIR], totals[1::PAIR]
    added = TOTALS + np.arange(len(even)) % _ADDED
    steps = (
        x86.load(added, x86.RAX, np.arange(len(even)) - MIDDLE),
        x86.add_near(even, added),
        x86.shift_left(added, added, 16),
        x86.add_near(odd, added),
    )
    return [*found, np.stack(steps, axis=1).reshape(-1, x86.SLOT)]
