"""A training convolution as generated code: its output and the gradient of its input.

Tensors keep their blocked layout, whose channels lie apart: each vector has an address of its own.
The code holds the pattern and is emitted once; values go into its stream with every call.
"""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import NONE, CCall, Library
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated.convolution import GeneratedPattern, Planes
from sparsebench.exporters.kernels.generated.memory import CodeMemory, no_code
from sparsebench.exporters.kernels.inference.folded_calls import GENERATED
from sparsebench.models.errors import SparsebenchError

_MOST = 2_000_000  # non-zeros of a layer; its code takes up to 20 bytes for each
# Code that runs on few places comes from memory; not seen to be faster below this number.
_LEAST_PLACES = 16

Part = tuple[NDArray[np.int64], GeneratedPattern]


class Generated:
    """Sums over a pattern's non-zeros, of one layer for one shape.

    Args:
        parts: (which non-zeros, their code); each part has places of its own in the target.
        count: non-zeros of all parts.

    Attributes:
        parts: as given.

    Raises:
        SparsebenchError: the system gives no memory for code.
    """

    def __init__(self, parts: list[Part], count: int) -> None:
        self.parts = parts
        functions = [code for _, part in parts for code in part.functions]
        self._code = CodeMemory(functions)
        addresses = iter(self._code.addresses)
        self._biases = biases = parts[0][1].channels[0] if parts else 0
        self._streams = []
        calls = []
        for which, part in parts:
            part.place(tuple(itertools.islice(addresses, len(part.functions))))
            part.functions = []
            source = np.full(part.code.size, count, np.int32)
            source[part.code.values_at] = which[part.code.order]
            source[part.code.bias_at] = count + 1 + np.arange(biases)
            self._streams.append((torch.from_numpy(part.stream), torch.from_numpy(source)))
            none = part.code.order[:0].copy()  # as large as the code itself, and read no more
            slots = part.code.slots[:0].copy()
            part.code = replace(part.code, slots=slots, order=none, values_at=none)
            calls.append(CCall(GENERATED, NONE, 0, 1, -1, ctypes.addressof(part.c)))
        self._calls = (CCall * len(calls))(*calls)

    def fill(self, values: Tensor, bias: Tensor | None) -> None:
        """Take over what the next call computes with.

        Args:
            values: float32 ``[nnz]`` in the order of the pattern.
            bias: float32 ``[channels of the target]``; None: zeros.
        """
        biases = torch.zeros(self._biases) if bias is None else bias.detach()
        # The zero is for what else a stream has.
        filling = torch.cat([values.detach(), torch.zeros(1), biases])
        for stream, source in self._streams:
            torch.index_select(filling, 0, source, out=stream)

    def run(self, kernels: Library, source: Tensor, target: Tensor, threads: int) -> None:
        """The blocked target of the blocked source."""
        table = np.array([source.data_ptr(), target.data_ptr()], np.uint64)
        kernels.run(self._calls, len(self._calls), table.ctypes.data, 1, 2, 1, threads, None)


def generated_output(pattern: Pattern, geometry: Geometry, inp: Blocked, out: Blocked) -> Generated:
    """Code for the output of a layer.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution.
        inp: shape of the input.
        out: shape of the output.

    Raises:
        SparsebenchError: what code cannot address, or the system gives no memory for it, or so few
            places that it would not pay.
    """
    if out.blocks * out.plane < _LEAST_PLACES:
        raise SparsebenchError(
            f"Generated code does not pay for fewer than {_LEAST_PLACES} vectors a channel.",
            "Larger batches or images have more.",
        )
    rows, columns = (geometry.forward_axis(axis, 1, 1).shifts for axis in range(2))
    part = GeneratedPattern(
        (pattern.out, pattern.inp, pattern.ky * geometry.kernel[1] + pattern.kx),
        (geometry.out_channels, geometry.in_channels),
        list(itertools.product(rows, columns)),
        geometry.stride,
        _planes(inp),
        _planes(out),
        NONE,
        False,
    )
    return Generated([(np.arange(len(pattern)), part)], len(pattern))


def generated_input_gradient(
    pattern: Pattern, geometry: Geometry, inp: Blocked, out: Blocked, accumulate: bool
) -> Generated:
    """Code for the gradient of a layer's input: the transposed pattern, by phases of the stride.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution.
        inp: shape of the input and its gradient.
        out: shape of the output's gradient.
        accumulate: whether the gradient is added to what is there.

    Raises:
        SparsebenchError: as :func:`generated_output`.
    """
    parts = []
    (sy, sx), channel = geometry.stride, inp.channel_stride // inp.lanes
    for py, px in itertools.product(range(min(sy, inp.height)), range(min(sx, inp.width))):
        rows = geometry.backward_axis(0, inp.height, out.height, py)
        columns = geometry.backward_axis(1, inp.width, out.width, px)
        tap_rows, tap_columns = geometry.phase_taps(0, py), geometry.phase_taps(1, px)
        tap = np.full(geometry.kernel, -1)
        tap[np.ix_(tap_rows, tap_columns)] = np.arange(len(tap_rows) * len(tap_columns)).reshape(
            len(tap_rows), len(tap_columns)
        )
        taps = tap[pattern.ky, pattern.kx]
        which = np.flatnonzero(taps >= 0)
        if accumulate and not len(which):
            continue  # nothing is added to these pixels
        planes = Planes(
            *(rows.own, columns.own, sy * inp.width, sx, False, inp.blocks, inp.plane, channel),
            first=py * inp.width + px,
        )
        part = GeneratedPattern(
            (pattern.inp[which], pattern.out[which], taps[which]),
            (geometry.in_channels, geometry.out_channels),
            list(itertools.product(rows.shifts, columns.shifts)) or [(0, 0)],
            (1, 1),
            _planes(out),
            planes,
            NONE,
            False,
            accumulate,
        )
        parts.append((which, part))
    return Generated(parts, len(pattern))


def why_not(kernels: Library, count: int) -> str:
    """Why code is not generated here for a pattern of so many non-zeros, or nothing."""
    if count > _MOST:
        return f"{count} non-zeros of a layer are more than {_MOST}."
    return no_code(kernels.isa, kernels.dtype)


def _planes(shape: Blocked) -> Planes:
    """All places of a blocked tensor."""
    apart = shape.channel_stride // shape.lanes
    return Planes(
        shape.height, shape.width, shape.width, 1, False, shape.blocks, shape.plane, apart
    )
