"""The gradient of a convolution's non-zeros on the processor's matrix unit (AMX), in bf16.

The unit computes all pairs of channels, at 32 times the pace of code for the non-zeros alone, so it
wins wherever more than a few percent of the weights are kept. Inputs and the output's gradient are
rounded to bf16 as they are copied; sums are float32.
"""

from __future__ import annotations

from ctypes import Structure, byref, c_int64, c_void_p

import numpy as np
import torch
from torch import Tensor

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated.correlation import room_of
from sparsebench.models.errors import SparsebenchError

TILE, PAIR = 16, 32  # rows and columns of a tile; bf16 of two vectors
_CHUNK_BYTES = 2**20  # of copies, half of the second-level cache
_MOST = 2**31 - 1


class CMatrixSums(Structure):
    """``MatrixSums`` of matrix.cpp."""

    _fields_ = (
        ("units", c_void_p),
        ("where", c_void_p),
        *(
            (name, c_int64)
            for name in (
                *("count", "units_count", "rows", "row"),
                *("channels", "window_channels", "height", "width", "channel"),
                *("out_channels", "out_rows", "out_columns", "out_channel"),
                *("image_blocks", "chunk_images", "chunk_rows", "window_rows", "window_columns"),
                *("stride_y", "stride_x", "top", "left"),
            )
        ),
    )


class MatrixSums:
    """The gradient to the non-zeros of one layer for one shape of input.

    Args:
        pattern: the non-zeros.
        geometry: of the convolution, of one group.
        inp: shape of the input, float32 blocks of 16 images.
        out: shape of the output.

    Attributes:
        chunk: (pairs of blocks of images, rows of the output) that are copied at once.
        path: what the record calls it.
        bf16: true.

    Raises:
        SparsebenchError: the layer has groups, or more sums than can be numbered.
    """

    path, bf16 = "matrix", True

    def __init__(self, pattern: Pattern, geometry: Geometry, inp: Blocked, out: Blocked) -> None:
        (high, wide), (dy, dx), (sy, sx) = geometry.kernel, geometry.dilation, geometry.stride
        # The rows of a unit are channels; where there are few of them, the taps of a row.
        by_taps = inp.channels < TILE and wide <= TILE
        window_channels = inp.channels if by_taps else -(-inp.channels // TILE) * TILE
        outs = -(-out.channels // TILE)
        columns = (out.width - 1) * sx + dx * (wide - 1) + 1
        if by_taps:
            rows, row = wide, dx * window_channels * PAIR
            channel, ky = np.divmod(np.arange(inp.channels * high), high)
            units = ky * dy * columns * window_channels + channel
            unit, own = pattern.inp * high + pattern.ky, pattern.kx
        else:
            rows, row = TILE, PAIR
            block, tap = np.divmod(np.arange(window_channels // TILE * high * wide), high * wide)
            ky, kx = np.divmod(tap, wide)
            units = (ky * dy * columns + kx * dx) * window_channels + block * TILE
            unit = (pattern.inp // TILE * high + pattern.ky) * wide + pattern.kx
            own = pattern.inp % TILE
        self._size = len(units) * outs * rows * TILE
        if geometry.groups > 1 or self._size > _MOST:
            raise SparsebenchError(
                "The matrix unit takes layers of one group and fewer than 2^31 weights.",
                "Other kernels run instead.",
            )
        where = ((unit * outs + pattern.out // TILE) * rows + own) * TILE + pattern.out % TILE
        self._kept = (units.astype(np.int64) * PAIR, where.astype(np.int32))
        reach = dy * (high - 1) + 1

        def room(images: int, chunk_rows: int) -> tuple[int, int]:
            """bf16 of both copies."""
            window = images * ((chunk_rows - 1) * sy + reach) * columns * window_channels * PAIR
            return window, images * chunk_rows * out.width * outs * TILE * PAIR

        chunks = [(1, rows) for rows in range(1, out.height + 1)]
        chunks += [(images, out.height) for images in range(2, -(-out.blocks // 2) + 1)]
        # Every chunk reads and writes all sums: where these are many, copies may be as large.
        most = max(_CHUNK_BYTES, min(4 * self._size, 4 * _CHUNK_BYTES))
        near = [chunk for chunk in chunks if 2 * sum(room(*chunk)) <= most]
        self.chunk = images, chunk_rows = max(near, default=(1, 1))
        self._window, self._tiles = room(*self.chunk)
        self._c = CMatrixSums(
            *(array.ctypes.data for array in self._kept),
            *(len(pattern), len(units), rows, row),
            *(inp.channels, window_channels, inp.height, inp.width, inp.channel_stride),
            *(out.channels, out.height, out.width, out.channel_stride),
            *(out.blocks, images, chunk_rows, (chunk_rows - 1) * sy + reach, columns),
            *(sy, sx, geometry.padding[0], geometry.padding[1]),
        )
        self._reference = byref(self._c)

    def run(self, kernels: Library, x: Tensor, y_grad: Tensor, threads: int) -> Tensor:
        """The gradients ``[nnz]`` in the order of the pattern.

        Args:
            kernels: the compiled library, whose ``has_matrix`` is true.
            x: blocked input, float32 or bf16.
            y_grad: blocked gradient of the output, float32; lanes without an image are zero.
            threads: to share the work.
        """
        grads = torch.empty(self._c.count)
        memory = room_of(self._size + (self._window + self._tiles) // 2).data_ptr()
        kernels.matrix_sums(
            self._reference,
            x.data_ptr(),
            int(x.dtype == torch.bfloat16),
            y_grad.data_ptr(),
            memory,
            memory + 4 * self._size,
            memory + 4 * self._size + 2 * self._window,
            grads.data_ptr(),
            threads,
        )
        return grads
