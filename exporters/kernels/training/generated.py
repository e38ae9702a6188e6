"""The forward pass of a training convolution as generated code.

Tensors keep their blocked layout, whose channels lie apart: each vector has an address of its own.
The code holds the pattern and is emitted once; values go into its stream with every call.
"""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import torch
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
_CALL = CCall * 1


class Generated:
    """The output of one layer for one shape of input.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution.
        inp: shape of the input.
        out: shape of the output.

    Raises:
        SparsebenchError: what code cannot address, or the system gives no memory for it, or so few
            places that it would not pay.
    """

    def __init__(self, pattern: Pattern, geometry: Geometry, inp: Blocked, out: Blocked) -> None:
        if out.blocks * out.plane < _LEAST_PLACES:
            raise SparsebenchError(
                f"Generated code does not pay for fewer than {_LEAST_PLACES} vectors a channel.",
                "Larger batches or images have more.",
            )
        rows, columns = (geometry.forward_axis(axis, 1, 1).shifts for axis in range(2))
        self._part = part = GeneratedPattern(
            (pattern.out, pattern.inp, pattern.ky * geometry.kernel[1] + pattern.kx),
            (geometry.out_channels, geometry.in_channels),
            list(itertools.product(rows, columns)),
            geometry.stride,
            _planes(inp),
            _planes(out),
            NONE,
            False,
        )
        self._code = CodeMemory(part.functions)
        part.place(self._code.addresses)
        part.functions = []
        self._stream = torch.from_numpy(part.stream)
        # The values, a zero for what else the stream has, the biases.
        count = len(pattern)
        self._filling = torch.zeros(count + 1 + geometry.out_channels)
        source = np.full(part.code.size, count)
        source[part.code.values_at] = part.code.order
        source[part.code.bias_at] = count + 1 + np.arange(geometry.out_channels)
        self._source = torch.from_numpy(source)
        self._call = _CALL(CCall(GENERATED, NONE, 0, 1, -1, ctypes.addressof(part.c)))

    def fill(self, values: Tensor | None, bias: Tensor | None) -> None:
        """Take over what the next call computes with.

        Args:
            values: float32 ``[nnz]`` in the order of the pattern; None: those of the last time.
            bias: float32 ``[O]``; None: zeros.
        """
        count = len(self._filling) - self._part.channels[0]
        if values is not None:
            self._filling[: count - 1] = values.detach()
        self._filling[count:] = 0 if bias is None else bias.detach()
        torch.index_select(self._filling, 0, self._source, out=self._stream)

    def run(self, kernels: Library, x: Tensor, y: Tensor, threads: int) -> None:
        """The blocked output ``y`` of the blocked input ``x``."""
        table = np.array([x.data_ptr(), y.data_ptr()], np.uint64)
        kernels.run(self._call, 1, table.ctypes.data, 1, 2, 1, threads, None)


def why_not(kernels: Library, pattern: Pattern) -> str:
    """Why code is not generated for a pattern here, or nothing."""
    if len(pattern) > _MOST:
        return f"{len(pattern)} non-zeros of a layer are more than {_MOST}."
    return no_code(kernels.isa, kernels.dtype)


def _planes(shape: Blocked) -> Planes:
    """All places of a blocked tensor."""
    apart = shape.channel_stride // shape.lanes
    return Planes(
        shape.height, shape.width, shape.width, 1, False, shape.blocks, shape.plane, apart
    )
