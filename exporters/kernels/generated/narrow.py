"""A pattern of non-zeros as machine code for AVX2: 16 registers of 8 floats.

As in :mod:`sparsebench.exporters.kernels.generated.emitter` the pattern is the code and the weights
are a stream. There is no embedded broadcast, so a weight takes a load of its own; it serves two
*places* at once, which lie equally far apart everywhere (neighbours of a row, or planes of other
images) and see the same taps. Twelve registers then hold the sums of six output channels at two
places: at 90 % sparsity 1.3 loads for each multiply-add, where one place and twelve channels would
take 1.6. A vector of the input that one channel uses is an operand in memory, one that several use
is loaded before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sparsebench.exporters.kernels.compiled.library import NONE, RELU6
from sparsebench.exporters.kernels.generated import encoding as x86
from sparsebench.exporters.kernels.generated import vex_encoding as vex
from sparsebench.exporters.kernels.generated.emitter import (
    Code,
    Indices,
    Shape,
    changes,
    lengths,
)

LANES = 8
TOTALS = 12  # accumulators; two registers hold inputs, two hold weights
_INPUT, _WEIGHT = 12, 14
_SIX, _ZERO = 12, 13  # once the sums are done
_REACH, _MIDDLE = 64, 32  # floats that one base register reaches by 8-bit displacements
Apart = tuple[int, int]  # bytes between the inputs and the outputs of two places


def groups_of(channels: int, places: int) -> Indices:
    """``[groups + 1]``: output channels of about equal groups whose sums fit the registers.

    Args:
        channels: O.
        places: 1 or 2, summed at once.
    """
    count = -(-channels * places // TOTALS)
    return np.arange(count + 1) * channels // count


def emit(out: Indices, inp: Indices, tap: Indices, shape: Shape, apart: Apart | None) -> Code:
    """Code for the non-zeros ``(out, inp, tap)``, each an array of one length.

    Args:
        out: output channels.
        inp: input channels.
        tap: places in ``shape.taps``.
        shape: all else.
        apart: where the second of two places lies that are summed at once; None for one.
    """
    places = [(0, 0), apart] if apart else [(0, 0)]
    count = len(places)
    bounds = groups_of(shape.out_channels, count)
    groups, taps = len(bounds) - 1, len(shape.taps)
    units = groups * shape.blocks
    group = np.searchsorted(bounds, out, "right") - 1
    unit = inp * shape.blocks // shape.in_channels * groups + group
    key = ((unit * taps + tap) * shape.in_channels + inp) * TOTALS + out - bounds[group]
    order = np.argsort(key)
    key = key[order]
    total = key % TOTALS * count
    vector = key // TOTALS  # what one load brings
    segment = vector // shape.in_channels  # all of one unit and tap
    unit, seen = segment // taps, segment % taps

    # The stream: of each unit its biases and a six, then the weights in order.
    sizes = np.tile(np.diff(bounds), shape.blocks)
    begins = np.concatenate([[0], np.cumsum(np.bincount(unit, minlength=units) + sizes + 1)])
    values_at = np.arange(len(key)) + np.cumsum(sizes + 1)[unit]

    # Bytes in front of each multiply-add: a skip over the segment, a base of the weights, loads.
    opens = changes(segment)
    run = segment if shape.bits else unit
    starts_run = changes(run)
    rank = np.arange(len(key)) - np.repeat(np.flatnonzero(starts_run), lengths(starts_run))
    moves = rank % _REACH == 0
    first = changes(vector)
    shared = np.repeat(lengths(first) > 1, lengths(first))
    loads = first & shared
    skips = opens & shape.bits
    own = np.where(shared, 6 + 5 * count, 6 + 9 * count) + loads * 8 * count + moves * 7
    own += skips * 11
    frames = [_frame(shape, bounds, places, u, int(begins[u])) for u in range(units)]
    heads, tails = np.array([[len(part) for part in frame] for frame in frames]).T
    inner = np.bincount(unit, own, units).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(heads + inner + tails)])
    at = np.cumsum(own) - own + (np.cumsum(heads + tails) - tails)[unit]

    code = np.empty(int(starts[-1]), np.uint8)
    for u, (head, tail) in enumerate(frames):
        code[starts[u] : starts[u] + len(head)] = head
        code[starts[u + 1] - len(tail) : starts[u + 1]] = tail
    if shape.bits:
        begin = at[skips]
        behind = np.append(begin[1:], starts[-1])
        behind = np.minimum(behind, (starts[1:] - tails)[unit[skips]])
        _put(code, begin, vex.skip_unless(x86.RBP, seen[skips], behind - begin - 11))
        at[skips] += 11
    bases = x86.address(x86.R10, x86.RCX, 4 * (values_at[moves] + _MIDDLE))
    _put(code, at[moves], bases)
    at[moves] += 7
    offset = np.array(shape.taps, np.int64)[seen]
    offset += vector % shape.in_channels * shape.inp_channel
    for n, (ahead, _) in enumerate(places):
        _put(code, at[loads], vex.load(_INPUT + n, x86.RBX, offset[loads] + ahead))
        at[loads] += 8
    weight = _WEIGHT + np.arange(len(key)) % 2
    _put(code, at, vex.broadcast(weight, x86.R10, 4 * (rank % _REACH - _MIDDLE)))
    at += 6
    alone = ~shared
    for n, (ahead, _) in enumerate(places):
        _put(code, at[shared], vex.fma(total[shared] + n, weight[shared], _INPUT + n))
        operands = (total[alone] + n, weight[alone], x86.RBX, offset[alone] + ahead)
        _put(code, at[alone], vex.fma_memory(*operands))
        at += np.where(shared, 5, 9)
    bias_at = np.concatenate(
        [b + np.arange(n) for b, n in zip(begins, sizes[:groups], strict=False)]
    )
    six_at = begins[:-1] + sizes
    return Code(code, starts, int(begins[-1]), order, values_at, bias_at, six_at, begins)


def _put(code: vex.Bytes, at: Indices, instructions: vex.Bytes) -> None:
    """Write instructions of one length to where they begin."""
    code[at[:, None] + np.arange(instructions.shape[1])] = instructions


def _frame(
    shape: Shape, bounds: Indices, places: list[Apart], unit: int, begin: int
) -> tuple[vex.Bytes, vex.Bytes]:
    """What a unit does before and after its non-zeros; `begin`: its place in the stream."""
    block, group = divmod(unit, len(bounds) - 1)
    channels = np.arange(bounds[group], bounds[group + 1])
    totals = np.arange(len(channels) * len(places))
    which = totals // len(places)
    stream = x86.address(x86.R10, x86.RCX, 4 * (begin + _MIDDLE))
    apart = np.array([ahead for _, ahead in places])[totals % len(places)]
    offsets = channels[which] * shape.out_channel + apart

    def outputs(what: Callable[..., vex.Bytes], residual: bool = False) -> list[vex.Bytes]:
        """An instruction for the vector of each sum, behind those that find it."""
        move = [x86.add_register(x86.RAX, x86.RDX)] if residual else []
        return [x86.address(x86.RAX, x86.R11, 0), *move, what(totals, x86.RAX, offsets)]

    if block == 0 and not shape.accumulate:
        head = [stream, vex.broadcast(totals, x86.R10, 4 * (which - _MIDDLE))]
    else:
        head = outputs(vex.load)
    tail: list[vex.Bytes] = []
    last = block == shape.blocks - 1
    if last and shape.residual:
        tail += outputs(vex.add_vector, residual=True)
    if last and shape.act != NONE:
        tail += [vex.clear(_ZERO), vex.maximum(totals, _ZERO)]
    if last and shape.act == RELU6:
        tail += [stream, vex.broadcast(_SIX, x86.R10, 4 * (len(channels) - _MIDDLE))]
        tail.append(vex.minimum(totals, _SIX))
    tail += outputs(vex.store)
    return tuple(np.concatenate([part.reshape(-1) for part in parts]) for parts in (head, tail))  # type: ignore[return-value]
