"""The gradient of a convolution's non-zeros as generated code.

A non-zero's gradient is the sum over places and images of a vector of the output's gradient times
one of the input. Up to 28 of these sums lie in registers while a function goes over the places of
a *chunk*: each costs one multiply-add whose operand comes from the first-level cache, because the
input of a few channels, a *block*, is copied beside each other first, with the zeros around its
planes. So no tap needs to ask whether it sees a pixel. Lanes are added when all places are done.

In bf16 two blocks of images become one of pairs, of the input and of the output's gradient, as they
are copied. One instruction then adds both products of each lane to a sum in float32.
"""

from __future__ import annotations

import itertools
import threading
from ctypes import Structure, byref, c_int64, c_void_p
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated import encoding as x86
from sparsebench.exporters.kernels.generated.convolution import LANES, PLACE, VECTOR
from sparsebench.exporters.kernels.generated.emitter import TOTALS
from sparsebench.exporters.kernels.generated.memory import CodeMemory

_NEAR = 512  # vectors of input that stay in the first-level cache
_OUTPUTS = 3  # whose gradients lie in registers
_INPUT = TOTALS + _OUTPUTS  # the register of an input that several of them use
_OWN = threading.local()  # memory of each thread that calls, see `room_of`


class CCorrelation(Structure):
    """``Correlation`` of correlation.cpp."""

    _fields_ = (
        ("functions", c_void_p),
        ("places", c_void_p),
        ("units", c_void_p),
        ("ends", c_void_p),
        ("order", c_void_p),
        *(
            (name, c_int64)
            for name in (
                *("blocks", "block_channels", "channels", "images", "chunk_images", "chunk_rows"),
                *("height", "width", "channel", "out_rows", "out_columns", "stride"),
                *("top", "left", "window_rows", "window_columns", "units_count"),
                *("pairs", "image_blocks", "out_channels", "out_channel"),
            )
        ),
    )


@dataclass(frozen=True)
class Cut:
    """How the work is cut.

    Attributes:
        images: planes of a chunk; more than one only where they are taken as a whole.
        rows: of the output in a chunk.
        channels: of the input in a block.
        window: (rows, columns) of the input that a chunk's plane sees.
    """

    images: int
    rows: int
    channels: int
    window: tuple[int, int]


def best_cut(geometry: Geometry, inp: Blocked, out: Blocked, count: int, bf16: bool = False) -> Cut:
    """The cut with the fewest vectors from beyond the first-level cache for each multiply-add.

    Args:
        geometry: of the convolution.
        inp: shape of the input.
        out: shape of the output.
        count: non-zeros.
        bf16: in pairs of blocks of images.
    """
    blocks = -(-out.blocks // 2) if bf16 else out.blocks
    reach = [d * (k - 1) + 1 for d, k in zip(geometry.dilation, geometry.kernel, strict=True)]
    columns = (out.width - 1) * geometry.stride[1] + reach[1]
    each = max(count, 1) / (inp.channels * out.channels)  # for a pair of channels
    shapes = [(1, rows) for rows in range(1, out.height + 1)]
    shapes += [(images, out.height) for images in range(2, blocks + 1)]
    best, least = None, float("inf")
    for images, rows in shapes:
        high = (rows - 1) * geometry.stride[0] + reach[0]
        size = images * high * columns
        if size > _NEAR and (images, rows) != (1, 1):
            continue
        channels = min(inp.channels, max(1, _NEAR // size))
        places = images * rows * out.width
        once = (images, rows) == (blocks, out.height)
        # A gradient's vector for all its non-zeros of a block; sums loaded and stored; copies.
        cost = min(1.0, 1 / (channels * each)) + (0 if once else 2 / places)
        cost += 2 * size / (each * out.channels * places)
        if cost < least:
            best, least = Cut(images, rows, channels, (high, columns)), cost
    assert best is not None
    return best


class GeneratedCorrelation:
    """The gradient to the non-zeros of one layer for one shape of input.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution.
        inp: shape of the input.
        out: shape of the output.
        bf16: whether input and gradient are rounded to bf16; sums are float32 all the same. Only
            where :func:`no_pairs` has no objection.

    Attributes:
        cut: how the work is cut.
        path: what the record calls it.
        bf16: as given.

    Raises:
        SparsebenchError: the system gives no memory for code.
    """

    path = "generated"

    def __init__(
        self,
        pattern: Pattern,
        geometry: Geometry,
        inp: Blocked,
        out: Blocked,
        bf16: bool = False,
    ) -> None:
        self.bf16 = bf16
        self.cut = cut = best_cut(geometry, inp, out, len(pattern), bf16)
        high, wide = cut.window
        blocks = -(-inp.channels // cut.channels)
        taps = pattern.ky * geometry.kernel[1] + pattern.kx
        block, local = np.divmod(pattern.inp, cut.channels)
        key = (block * out.channels + pattern.out // _OUTPUTS) * cut.channels + local
        key = key * (geometry.kernel[0] * geometry.kernel[1]) + taps
        order = np.argsort(key * _OUTPUTS + pattern.out % _OUTPUTS)
        block, local, source = block[order], local[order], pattern.out[order]
        shift = pattern.ky[order] * geometry.dilation[0] * wide
        shift += pattern.kx[order] * geometry.dilation[1]
        offsets = VECTOR * (local * cut.images * high * wide + shift)
        counts = np.bincount(block, minlength=blocks)
        units = np.concatenate([[0], np.cumsum(-(-counts // TOTALS))])
        rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[block]
        unit = units[block] + rank // TOTALS
        images = -(-out.blocks // 2) if bf16 else out.blocks
        self._once = cut.images >= images and cut.rows == out.height
        image, row, column = np.mgrid[: cut.images, : cut.rows, : out.width].reshape(3, -1)
        places = np.zeros(len(row), PLACE)
        # Pairs are copies, whose places lie side by side.
        places["out"] = VECTOR * (
            np.arange(len(row)) if bf16 else image * out.plane + row * out.width + column
        )
        channel = VECTOR * len(row) if bf16 else out.channel_stride * 4
        functions = _functions(unit, rank % TOTALS, source, offsets, channel, self._once, bf16)
        self._code = CodeMemory(functions)
        sy, sx = geometry.stride
        places["inp"] = VECTOR * ((image * high + row * sy) * wide + column * sx)
        ends = np.cumsum(np.bincount(unit, minlength=units[-1]))
        self._kept = (
            np.array(self._code.addresses, np.uint64),
            places,
            units.astype(np.int64),
            np.concatenate([[0], ends]).astype(np.int64),
            order.astype(np.int64),
        )
        self._count = len(order)
        self._window = cut.channels * cut.images * high * wide
        self._window += out.channels * len(row) if bf16 else 0
        self._pieces = blocks
        self._c = CCorrelation(
            *(array.ctypes.data for array in self._kept),
            *(blocks, cut.channels, inp.channels, images, cut.images, cut.rows),
            *(inp.height, inp.width, inp.channel_stride, out.height, out.width, sy),
            *(geometry.padding[0], geometry.padding[1], high, wide, int(units[-1])),
            *(int(bf16), out.blocks, out.channels, out.channel_stride),
        )
        self._reference = byref(self._c)

    def run(self, kernels: Library, x: Tensor, y_grad: Tensor, threads: int) -> Tensor:
        """The gradients ``[nnz]`` in the order of the pattern.

        Args:
            kernels: the compiled library.
            x: blocked input, float32 or bf16.
            y_grad: blocked gradient of the output, float32; lanes without an image are zero.
            threads: to share the work.
        """
        grads = torch.empty(self._count)
        threads = max(1, min(threads, self._pieces))
        sums = threads * TOTALS if self._once else self._count
        room = room_of((sums + threads * self._window) * LANES)
        kernels.correlate(
            self._reference,
            x.data_ptr(),
            int(x.dtype == torch.bfloat16),
            y_grad.data_ptr(),
            room.data_ptr(),
            room.data_ptr() + sums * VECTOR,
            int(self._once),
            grads.data_ptr(),
            threads,
        )
        return grads


def _functions(
    unit: NDArray[np.int64],
    total: NDArray[np.int64],
    source: NDArray[np.int64],
    offsets: NDArray[np.int64],
    channel: int,
    once: bool,
    bf16: bool,
) -> list[bytes]:
    """Code of each unit: sums from the weights' place, the places, sums to where they were.

    Args:
        unit: of each non-zero, ascending.
        total: its sum's register.
        source: its output channel; of a unit's neighbours at most `_OUTPUTS` in turn.
        offsets: bytes from a place to its input.
        channel: bytes between two output channels.
        once: whether the sums begin with zero instead.
        bf16: whether vectors are pairs of bf16.
    """
    near, far = (x86.pairs_near, x86.pairs_far) if bf16 else (x86.fma_near, x86.fma_far)
    if not len(unit):
        return []
    # One load for each output of a unit's group; one for an input that several of them use.
    _, first = np.unique(unit * (source.max() + 1) + source, return_index=True)
    gradients = np.zeros(len(unit), np.bool_)
    gradients[first] = True
    opens = np.ones(len(unit), np.bool_)
    opens[1:] = (unit[1:] != unit[:-1]) | (offsets[1:] != offsets[:-1])
    opens[1:] |= source[1:] // _OUTPUTS != source[:-1] // _OUTPUTS
    run = np.cumsum(opens) - 1
    shared = np.bincount(run)[run] > 1
    inputs = opens & shared
    own = 1 + gradients + inputs
    at = np.cumsum(own) - 1
    register = TOTALS + source % _OUTPUTS
    slots = np.empty((int(own.sum()), x86.SLOT + 3), np.uint8)
    slots[at] = near(total, register, _INPUT)
    alone = ~shared
    slots[at[alone]] = far(total[alone], register[alone], x86.RBX, offsets[alone])
    slots[at[inputs] - 1] = x86.load_far(_INPUT, x86.RBX, offsets[inputs])
    loads = source[gradients] * channel
    before = at[gradients] - 1 - inputs[gradients]
    slots[before] = x86.load_far(register[gradients], x86.R11, loads)
    counts = np.bincount(unit)
    ends = np.cumsum(np.bincount(unit, own)).astype(np.int64)
    frames = {}
    for count in set(counts.tolist()):
        totals = np.arange(count)
        head = x86.clear(totals) if once else x86.load(totals, x86.RCX, totals)
        frames[count] = [head.tobytes(), x86.store(totals, x86.RCX, totals).tobytes()]
    return [
        x86.loop(slots[first:end].tobytes(), *frames[count])
        for (first, end), count in zip(
            itertools.pairwise([0, *ends.tolist()]), counts.tolist(), strict=True
        )
    ]


def room_of(size: int) -> Tensor:
    """Memory of at least `size` floats, aligned to 64 bytes, kept by each thread that calls."""
    room: Tensor | None = getattr(_OWN, "room", None)
    if room is None or room.numel() < size:
        whole = torch.empty(size + LANES)
        first = -whole.data_ptr() % VECTOR // 4
        room = _OWN.room = whole[first : first + size]
    return room
