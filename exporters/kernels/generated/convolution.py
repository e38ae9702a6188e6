"""One convolution as generated code: its functions, its weights and the places they run on."""

from __future__ import annotations

import itertools
from ctypes import Structure, c_int64, c_void_p
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated.emitter import Shape, emit, groups_of
from sparsebench.models.errors import SparsebenchError

LANES, VECTOR = 16, 64  # floats, bytes
_BITS = 64
# Measured on Zen 4. Code of a unit that fits the first-level cache is fetched faster, where enough
# places run it one after the other. Where the channels of a place fit it, all groups of a 1x1
# convolution run on a place before the next one comes.
_UNIT_CODE, _LEAST_PLACES = 32 * 1024, 16
_NEAR_CHANNELS, _NEAR_CODE = 512, 512 * 1024
_BYTES = 10  # of code, about, for each non-zero
_FAR = 2**31 - 1
PLACE = np.dtype([("inp", "<i4"), ("out", "<i4"), ("bits", "<u8")])


class CGenerated(Structure):
    """``Generated`` of folded.h."""

    _fields_ = (
        ("functions", c_void_p),
        ("functions_count", c_int64),
        ("weights", c_void_p),
        ("places", c_void_p),
        ("places_count", c_int64),
        ("chain", c_int64),
    )


@dataclass(frozen=True)
class Planes:
    """Where the vectors of a pixel-major tensor lie; the channels of a place are neighbours.

    Attributes:
        height: places that hold pixels.
        width: of them in a row.
        row: distance of two rows, vectors.
        column: distance of two places of a row, vectors.
        borders: whether places around the planes hold what a tap reads there. Else taps are
            skipped where they see no pixel.
        blocks: number of planes of other images.
        block: distance of two of them, vectors.
    """

    height: int
    width: int
    row: int
    column: int
    borders: bool
    blocks: int
    block: int


class GeneratedConvolution:
    """``y = act(conv(x) + bias + residual)`` for tensors of pixel-major layout.

    Args:
        weight: float32 ``[O, C / groups, kh, kw]``; its zeros cost nothing.
        bias: ``[O]`` or None.
        geometry: of the convolution.
        inp: shape of the input.
        out: shape of the output and of a residual.
        act: activation, see :mod:`exporters.kernels.library`.
        residual: whether there is one.

    Attributes:
        functions: machine code.
        multiply_adds: of vectors, for one call.

    Raises:
        SparsebenchError: a tensor or the kernel's window is larger than the code can address.
    """

    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        geometry: Geometry,
        inp: Planes,
        out: Planes,
        act: int,
        residual: bool,
    ) -> None:
        pattern = Pattern.of(weight != 0, geometry.groups)
        bits = not inp.borders and any(geometry.padding)
        kh, kw = geometry.kernel
        if bits and kh * kw > _BITS:
            raise SparsebenchError(
                f"A kernel of {kh}x{kw} has more than {_BITS} taps.", "Take a smaller kernel."
            )
        if VECTOR * max(inp.blocks * inp.block, out.blocks * out.block) > _FAR:
            raise SparsebenchError(
                f"Tensors of more than {_FAR} bytes are too large for generated code.",
                "Take smaller images.",
            )
        shifts = [geometry.forward_axis(axis, 1, 1).shifts for axis in range(2)]
        row, column = inp.row * VECTOR, inp.column * VECTOR
        taps = tuple(dy * row + dx * column for dy in shifts[0] for dx in shifts[1])
        self._places = _places(geometry, inp, out, bits)
        size = len(pattern) * _BYTES
        together = kh * kw == 1 and geometry.in_channels <= _NEAR_CHANNELS and size <= _NEAR_CODE
        blocks = 1
        if not together and len(self._places) >= _LEAST_PLACES:
            unit = size // (len(groups_of(geometry.out_channels)) - 1)
            blocks = max(1, min(-(-unit // _UNIT_CODE), geometry.in_channels))
        shape = Shape(
            geometry.out_channels, geometry.in_channels, taps, bits, residual, act, blocks
        )
        tap = pattern.ky * kw + pattern.kx
        code = emit(pattern.out, pattern.inp, tap, shape)
        self._stream = code.stream(weight[weight != 0], bias)
        units = len(code.starts) - 1
        if together:
            self.functions = [code.function(0, units)]
        else:  # all blocks of a group in turn
            order = np.arange(units).reshape(blocks, -1).T.reshape(-1)
            self.functions = [code.function(u, u + 1) for u in order.tolist()]
        self._addresses = np.zeros(len(self.functions), np.uint64)
        self.c = CGenerated(
            self._addresses.ctypes.data,
            len(self._addresses),
            self._stream.ctypes.data,
            self._places.ctypes.data,
            len(self._places),
            blocks,
        )
        if bits:
            per_tap = np.bincount(tap, minlength=kh * kw)
            shown = self._places["bits"][:, None] >> np.arange(kh * kw, dtype=np.uint64) & 1
            self.multiply_adds = int((shown.astype(np.int64) * per_tap).sum())
        else:
            self.multiply_adds = len(self._places) * len(pattern)

    def place(self, addresses: tuple[int, ...]) -> None:
        """Say where the functions lie."""
        self._addresses[:] = addresses


def _places(geometry: Geometry, inp: Planes, out: Planes, bits: bool) -> NDArray[np.void]:
    """Where each place of the output reads and writes (bytes), and which taps it sees."""
    block, y, x = np.mgrid[: out.blocks, : out.height, : out.width].reshape(3, -1)
    places = np.zeros(len(y), PLACE)
    places["out"] = VECTOR * (block * out.block + y * out.row + x * out.column)
    y, x = y * geometry.stride[0], x * geometry.stride[1]
    places["inp"] = VECTOR * (block * inp.block + y * inp.row + x * inp.column)
    if bits:
        shifts = [geometry.forward_axis(axis, 1, 1).shifts for axis in range(2)]
        for tap, (dy, dx) in enumerate(itertools.product(*shifts)):
            seen = (y + dy >= 0) & (y + dy < inp.height) & (x + dx >= 0) & (x + dx < inp.width)
            places["bits"] |= seen.astype(np.uint64) << np.uint64(tap)
    return places
