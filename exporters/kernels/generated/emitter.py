"""One pattern of non-zeros as machine code, and the order in which it reads its weights.

Outputs of one place are vectors of 16 lanes. Up to 28 of them, one for each output channel of a
*group*, are summed in registers: a vector of the input is loaded once and used by all channels of
the group that have a non-zero there. A *unit* of code is one group over one block of input
channels; the units of a block come one after the other. The code holds where the non-zeros are, not
their values: these are a stream of floats beside it, each read as an embedded broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.library import NONE, RELU6
from sparsebench.exporters.kernels.generated import encoding as x86

TOTALS = 28  # accumulators; the other registers hold what is loaded
_INPUTS = 4
_REACH = 256  # vectors or floats that one base register reaches by 8-bit displacements
MIDDLE = 128
_NEXT = 64  # bytes between channels that lie side by side
_SIX, _ZERO = 30, 31  # once the sums are done

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """What is emitted, apart from the pattern.

    Attributes:
        out_channels: O.
        in_channels: C.
        taps: bytes from a place's first input vector to that of each tap.
        bits: whether bit t of a place says that it sees tap t; at most 64 taps then.
        residual: whether the outputs are added to.
        act: activation, see :mod:`exporters.kernels.library`.
        blocks: of input channels.
        inp_channel: bytes between two channels of the input.
        out_channel: the same of the output.
        accumulate: whether the sums begin with what the outputs are.
    """

    out_channels: int
    in_channels: int
    taps: tuple[int, ...]
    bits: bool
    residual: bool
    act: int
    blocks: int = 1
    inp_channel: int = _NEXT
    out_channel: int = _NEXT
    accumulate: bool = False


@dataclass(frozen=True)
class Code:
    """A pattern as machine code.

    Attributes:
        slots: ``uint8[n, 7]`` of all units.
        starts: ``[units + 1]``, slots; the units of a block lie together.
        size: of the weight stream, floats.
        order: the non-zeros of the stream by their index in the pattern.
        values_at: where each of them lies in the stream.
        bias_at: the same of each output channel's bias, ``[O]``.
        six_at: places that hold the number six.
        begins: where the constants of each unit begin, ``[units + 1]``.
        around: what a function does before all places and after them.
    """

    slots: x86.Slots
    starts: Indices
    size: int
    order: Indices
    values_at: Indices
    bias_at: Indices
    six_at: Indices
    begins: Indices
    around: tuple[bytes, bytes] = (b"", b"")

    def stream(
        self, values: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """The weight stream, aligned to 64 bytes.

        Args:
            values: of the non-zeros in the order of the pattern.
            bias: ``[O]`` or None.
        """
        room = np.zeros(self.size + 16, np.float32)
        first = -room.ctypes.data % 64 // 4
        stream = room[first : first + self.size]
        stream[self.six_at] = 6
        self.fill(stream, values, bias)
        return stream

    def fill(
        self,
        stream: NDArray[np.float32],
        values: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
    ) -> None:
        """Put other values into a stream."""
        stream[self.values_at] = values[self.order]
        if bias is not None:
            stream[self.bias_at] = bias

    def function(self, first: int, end: int) -> bytes:
        """The code of units ``first .. end`` as one loop over places."""
        return x86.loop(self.slots[self.starts[first] : self.starts[end]].tobytes(), *self.around)


@dataclass(frozen=True)
class Kind:
    """What a multiply-add is, and what stands around those of a unit.

    Attributes:
        multiply: the instruction, as :func:`encoding.fma_broadcast`.
        bounds: channels -> ``[groups + 1]``: output channels of groups that fit the registers.
        constants: outputs of units -> floats in the stream in front of their weights; the
            outputs' biases are the first of them.
        frame: shape, bounds, unit, place of its constants -> what it does before and after.
        lead: floats of the stream in front of all units.
        six: whether the number six stands behind the biases.
        splits: whether outputs can hold the sums of some blocks of input channels.
        held: input channels of a vector: 1, or 2 of bf16, the even one in the upper half of a lane.
        around: what a function does before all places and after them.
    """

    multiply: Callable[..., x86.Slots]
    bounds: Callable[[int], Indices]
    constants: Callable[[Indices], Indices]
    frame: Callable[[Shape, Indices, int, int], tuple[x86.Slots, x86.Slots]]
    lead: int = 0
    six: bool = False
    splits: bool = False
    held: int = 1
    around: tuple[bytes, bytes] = (b"", b"")


def groups_of(channels: int) -> Indices:
    """``[groups + 1]``: output channels of about equal groups that fit the registers."""
    count = -(-channels // TOTALS)
    return np.arange(count + 1) * channels // count


def emit(out: Indices, inp: Indices, tap: Indices, shape: Shape, kind: Kind | None = None) -> Code:
    """Code for the non-zeros ``(out, inp, tap)``, each an array of one length.

    Args:
        out: output channels.
        inp: input channels.
        tap: places in ``shape.taps``.
        shape: all else.
        kind: what is multiplied and what is made of the sums; floats without it.
    """
    kind = kind or FLOATS
    bounds = kind.bounds(shape.out_channels)
    groups, taps = len(bounds) - 1, len(shape.taps)
    units = groups * shape.blocks
    group = np.searchsorted(bounds, out, "right") - 1
    unit = inp * shape.blocks // shape.in_channels * groups + group
    key = ((unit * taps + tap) * shape.in_channels + inp) * TOTALS + out - bounds[group]
    order = np.argsort(key)
    key = key[order]
    total = key % TOTALS
    vector = key // TOTALS  # what one load brings
    channel = vector % shape.in_channels
    where = channel // kind.held  # of the vectors of a place
    segment = vector // shape.in_channels  # all of one unit and tap
    unit = segment // taps
    opens = changes(segment)
    rank = np.arange(len(key)) - np.repeat(np.flatnonzero(opens), lengths(opens))

    # The stream: of each unit its biases and other constants, then the weights in order.
    sizes = np.tile(np.diff(bounds), shape.blocks)
    constants = kind.constants(sizes)
    counts = np.bincount(unit, minlength=units)
    begins = kind.lead + np.concatenate([[0], np.cumsum(counts + constants)])
    values_at = kind.lead + np.arange(len(key)) + np.cumsum(constants)[unit]

    # Slots in front of each multiply-add: those that open a segment, a new base of the input, a
    # new base of the weights, a load.
    loads = changes(vector)
    shifts = loads & (channel % kind.held == 1)
    alone = shifts & (np.append(-1, vector[:-1]) != vector - 1)  # the even channel is not there
    # Channels apart have a base each.
    reach, middle = (_REACH, MIDDLE) if shape.inp_channel == _NEXT else (1, 0)
    bases = changes(segment * -(-shape.in_channels // reach) + where // reach)
    moves = (rank % _REACH == 0) & ~opens
    own = 1 + loads + alone + moves + bases + opens * (3 if shape.bits else 1)
    frames = [kind.frame(shape, bounds, u, int(begins[u])) for u in range(units)]
    heads, tails = np.array([[len(x) for x in frame] for frame in frames]).T
    inner = np.bincount(unit, own, units).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(heads + inner + tails)])
    at = np.cumsum(own) - 1 + (np.cumsum(heads + tails) - tails)[unit]

    slots = np.empty((int(starts[-1]), x86.SLOT), np.uint8)
    register = TOTALS + (np.cumsum(loads) - 1) % _INPUTS
    slots[at] = kind.multiply(total, register, x86.R10, rank % _REACH - MIDDLE)
    fresh = loads & (alone | ~shifts)  # an odd channel without its even one is loaded, too
    loaded_at = (at - 1 - shifts)[fresh]
    slots[loaded_at] = x86.load(register[fresh], x86.RAX, where[fresh] % reach - middle)
    if kind.held > 1:
        other = TOTALS + (register[shifts] - TOTALS - ~alone[shifts]) % _INPUTS
        slots[at[shifts] - 1] = x86.shift_left(register[shifts], other, 16)
    before = at - loads - alone
    slots[before[moves] - 1] = x86.address(x86.R10, x86.R10, 4 * _REACH)
    offsets = np.array(shape.taps, np.int64)[segment[bases] % taps]
    offsets += where[bases] // reach * reach * shape.inp_channel + middle * _NEXT
    slots[before[bases] - 1 - moves[bases]] = x86.address(x86.RAX, x86.RBX, offsets)
    first = before[opens] - 2  # a segment's place in the stream; its base and a load follow
    slots[first] = x86.address(x86.R10, x86.RCX, 4 * (values_at[opens] + MIDDLE))
    if shape.bits:
        behind = np.append(first[1:] - 2, starts[-1])
        behind = np.minimum(behind, (starts[1:] - tails)[unit[opens]])
        skips = x86.skip_unless(x86.RBP, segment[opens] % taps, behind - first)
        slots[first - 2], slots[first - 1] = skips[:, 0], skips[:, 1]
    for u, (head, tail) in enumerate(frames):
        slots[starts[u] : starts[u] + len(head)] = head
        slots[starts[u + 1] - len(tail) : starts[u + 1]] = tail
    bias_at = np.concatenate(
        [b + np.arange(n) for b, n in zip(begins, sizes[:groups], strict=False)]
    )
    six_at = begins[:-1] + sizes if kind.six else np.zeros(0, np.int64)
    found = (slots, starts, int(begins[-1]), order, values_at, bias_at, six_at, begins)
    return Code(*found, kind.around)


def changes(values: Indices) -> NDArray[np.bool_]:
    """Where an array's value is not the one before it."""
    found = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=found[1:])
    return found


def lengths(opens: NDArray[np.bool_]) -> Indices:
    """Of the runs that begin where `opens` is true."""
    return np.diff(np.append(np.flatnonzero(opens), len(opens)))


def _frame(shape: Shape, bounds: Indices, unit: int, begin: int) -> tuple[x86.Slots, x86.Slots]:
    """What a unit does before and after its non-zeros; `begin`: its place in the stream."""
    block, group = divmod(unit, len(bounds) - 1)
    first, count = int(bounds[group]), int(bounds[group + 1] - bounds[group])
    totals, places = np.arange(count), np.arange(count) - MIDDLE
    stream = x86.address(x86.R10, x86.RCX, 4 * (begin + MIDDLE))

    def outputs(what: Callable[..., x86.Slots], residual: bool = False) -> list[x86.Slots]:
        """An instruction for the vector of each channel, behind those that find it."""
        move = [x86.add_register(x86.RAX, x86.RDX)] if residual else []
        if shape.out_channel == _NEXT:
            base = x86.address(x86.RAX, x86.R11, _NEXT * (first + MIDDLE))
            return [base, *move, what(totals, x86.RAX, places)]
        bases = x86.address(x86.RAX, x86.R11, (first + totals) * shape.out_channel)
        moves = [np.broadcast_to(slot, bases.shape) for slot in move]
        steps = np.stack([bases, *moves, what(totals, x86.RAX, 0)], axis=1)
        return [steps.reshape(-1, x86.SLOT)]

    if block == 0 and not shape.accumulate:
        head = [stream, x86.broadcast(totals, x86.R10, places)]
    else:
        head = outputs(x86.load)
    tail = []
    last = block == shape.blocks - 1
    if last and shape.residual:
        tail += outputs(x86.add_vector, residual=True)
    if last and shape.act != NONE:
        tail += [x86.clear(_ZERO), x86.maximum(totals, _ZERO)]
    if last and shape.act == RELU6:
        tail += [stream, x86.broadcast(_SIX, x86.R10, count - MIDDLE)]
        tail.append(x86.minimum(totals, _SIX))
    tail += outputs(x86.store)
    return np.concatenate(head), np.concatenate(tail)


FLOATS = Kind(x86.fma_broadcast, groups_of, lambda sizes: sizes + 1, _frame, six=True, splits=True)
