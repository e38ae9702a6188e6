"""One convolution as generated code: its functions, its weights and the places they run on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from ctypes import Structure, c_int64, c_void_p
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated import narrow
from sparsebench.exporters.kernels.generated.emitter import FLOATS, Code, Kind, Shape, emit
from sparsebench.models.errors import SparsebenchError

LANES, VECTOR = 16, 64  # floats, bytes
_BITS = 64
# Measured on Zen 4. Code of a unit that fits the first-level cache is fetched faster, where enough
# places run it one after the other. Where the channels of a place fit it, all groups of a 1x1
# convolution run on a place before the next one comes.
_UNIT_CODE, _LEAST_PLACES = 32 * 1024, 16
_NEAR_CHANNELS, _NEAR_CODE = 512, 512 * 1024
# Inputs that the second-level cache does not hold are taken in tiles that it does. ViT-tiny's
# layers of 768 channels (9.7 MB for 16 images) read them once instead of seven times: 108 -> 42 ms.
_TILECODE_BYTES, _LEAST_TILE = 512 * 1024, 8
CODE_BYTES = {LANES: 10, narrow.LANES: 22}  # of code, about, for each non-zero
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
        ("tile", c_int64),
    )


@dataclass(frozen=True)
class Planes:
    """Where the vectors of a pixel-major tensor lie; the channels of a place mostly side by side.

    Attributes:
        height: places that hold pixels.
        width: of them in a row.
        row: distance of two rows, vectors.
        column: distance of two places of a row, vectors.
        borders: whether places around the planes hold what a tap reads there. Else taps are
            skipped where they see no pixel.
        blocks: number of planes of other images.
        block: distance of two of them, vectors.
        channel: distance of two channels, vectors.
        first: vectors in front of the first place.
        lanes: floats of a vector, 16 (AVX-512) or 8 (AVX2).
    """

    height: int
    width: int
    row: int
    column: int
    borders: bool
    blocks: int
    block: int
    channel: int = 1
    first: int = 0
    lanes: int = LANES

    @property
    def vector(self) -> int:
        """Bytes of a vector."""
        return 4 * self.lanes


class GeneratedPattern:
    """``y = act(sums + bias + residual)``; each sum is over the non-zeros of one output channel.

    Args:
        entries: (output channel, input channel, tap) of the non-zeros, arrays of one length.
        channels: how many (outputs, inputs).
        shifts: (rows, columns) from where a place looks to each tap's input.
        step: (rows, columns) that this moves with each place of the output.
        inp: shape of the input.
        out: shape of the output and of a residual.
        act: activation, see :mod:`exporters.kernels.library`.
        residual: whether there is one.
        accumulate: add to ``y`` instead of to the bias.
        kind: what is multiplied.
        offsets: bytes from a place's input to each tap's, where these are no whole vectors; memory
            then holds what lies outside of the planes.

    Attributes:
        functions: machine code.
        channels: as given.
        multiply_adds: of vectors, for one call.
        all_seen: whether every place sees all taps, because memory holds what lies outside.
        code: what the functions were made of.
        stream: the weights as the code reads them, see :meth:`Code.stream`; zeros until filled.

    Raises:
        SparsebenchError: a tensor or the window is larger than the code can address.
    """

    def __init__(
        self,
        entries: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        channels: tuple[int, int],
        shifts: Sequence[tuple[int, int]],
        step: tuple[int, int],
        inp: Planes,
        out: Planes,
        act: int,
        residual: bool,
        accumulate: bool = False,
        kind: Kind = FLOATS,
        offsets: tuple[int, ...] | None = None,
    ) -> None:
        self.channels = channels
        count, taps = len(entries[0]), len(shifts)
        sizes = ((inp, channels[1]), (out, channels[0]))
        ends = [p.blocks * p.block + (c * p.channel if p.channel > 1 else 0) for p, c in sizes]
        if inp.vector * max(ends) > _FAR:
            raise SparsebenchError(
                f"Tensors of more than {_FAR} bytes are too large for generated code.",
                "Take smaller images.",
            )
        if offsets is None:
            offsets = tuple(inp.vector * (dy * inp.row + dx * inp.column) for dy, dx in shifts)
        self._places, seen = _places(shifts, step, inp, out)
        self.all_seen = bool(inp.borders or seen.all())
        bits = not self.all_seen
        if bits and taps > _BITS:
            raise SparsebenchError(
                f"A kernel has more than {_BITS} taps: {taps}.", "Take a smaller kernel."
            )
        if bits:
            tap_bits = np.uint64(1) << np.arange(taps, dtype=np.uint64)
            self._places["bits"] = (seen * tap_bits).sum(1, dtype=np.uint64)
        size = count * CODE_BYTES[inp.lanes]
        apart = None
        if inp.lanes == narrow.LANES:
            self._places, apart = _paired(self._places, out)
            bounds = narrow.groups_of(channels[0], 2 if apart else 1)
        else:
            bounds = kind.bounds(channels[0])
        vectors = -(-channels[1] // kind.held)
        together = taps == 1 and vectors <= _NEAR_CHANNELS and size <= _NEAR_CODE
        blocks = 1
        if kind.splits and not together and len(self._places) >= _LEAST_PLACES:
            unit = size // (len(bounds) - 1)
            blocks = max(1, min(-(-unit // _UNIT_CODE), channels[1]))
        far = (inp.channel * inp.vector, out.channel * out.vector)
        shape = Shape(*channels, offsets, bits, residual, act, blocks, *far, accumulate)
        self.code: Code
        if inp.lanes == narrow.LANES:
            self.code = narrow.emit(*entries, shape, apart)
        else:
            self.code = emit(*entries, shape, kind)
        units = len(self.code.starts) - 1
        if together:
            self.functions = [self.code.function(0, units)]
        else:  # all blocks of a group in turn
            order = np.arange(units).reshape(blocks, -1).T.reshape(-1)
            self.functions = [self.code.function(u, u + 1) for u in order.tolist()]
        self._addresses = np.zeros(len(self.functions), np.uint64)
        self.stream = self.code.stream(np.zeros(count, np.float32), None)
        self.c = CGenerated(
            self._addresses.ctypes.data,
            len(self._addresses),
            self.stream.ctypes.data,
            self._places.ctypes.data,
            len(self._places),
            blocks,
            _tile(
                len(self._places),
                inp.vector * (2 if apart else 1) * vectors * min(taps, step[0] * step[1]),
            ),
        )
        per_tap = np.bincount(entries[2], minlength=taps)
        places = seen.sum(0) if bits else len(seen)
        self.multiply_adds = int((per_tap * places).sum())

    def place(self, addresses: tuple[int, ...]) -> None:
        """Say where the functions lie."""
        self._addresses[:] = addresses


class GeneratedConvolution(GeneratedPattern):
    """``y = act(conv(x) + bias + residual)``.

    Args:
        weight: float32 ``[O, C / groups, kh, kw]``; its zeros cost nothing.
        bias: ``[O]`` or None.
        geometry: of the convolution.
        inp: shape of the input.
        out: shape of the output and of a residual.
        act: activation, see :mod:`exporters.kernels.library`.
        residual: whether there is one.

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
        rows, columns = (geometry.forward_axis(axis, 1, 1).shifts for axis in range(2))
        super().__init__(
            (pattern.out, pattern.inp, pattern.ky * geometry.kernel[1] + pattern.kx),
            (geometry.out_channels, geometry.in_channels),
            list(itertools.product(rows, columns)),
            geometry.stride,
            inp,
            out,
            act,
            residual,
        )
        self.code.fill(self.stream, weight[weight != 0], bias)


def _tile(places: int, size: int) -> int:
    """Places of a tile, each of which reads so many bytes that the one before it did not."""
    if places * size <= 2 * _TILECODE_BYTES:
        return places
    return max(_LEAST_TILE, _TILECODE_BYTES // size)


def _paired(places: NDArray[np.void], out: Planes) -> tuple[NDArray[np.void], narrow.Apart | None]:
    """The first of each two places that lie equally far apart and see the same taps, and how far;
    all places and None where an odd number along every axis leaves one over."""
    grid = places.reshape(out.blocks, out.height, out.width)
    for axis in (2, 1, 0):
        if grid.shape[axis] % 2:
            continue
        first, second = (grid.take(range(i, grid.shape[axis], 2), axis) for i in (0, 1))
        if not np.array_equal(first["bits"], second["bits"]):
            continue
        apart = tuple({*(second[of] - first[of]).flat} for of in ("inp", "out"))
        if all(len(distances) == 1 for distances in apart):
            kept = np.ascontiguousarray(first).reshape(-1)
            return kept, (int(apart[0].pop()), int(apart[1].pop()))
    return places, None


def _places(
    shifts: Sequence[tuple[int, int]], step: tuple[int, int], inp: Planes, out: Planes
) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """Where each place of the output reads and writes (bytes); which taps it sees."""
    block, y, x = np.mgrid[: out.blocks, : out.height, : out.width].reshape(3, -1)
    places = np.zeros(len(y), PLACE)
    places["out"] = out.vector * (out.first + block * out.block + y * out.row + x * out.column)
    y, x = y * step[0], x * step[1]
    places["inp"] = inp.vector * (inp.first + block * inp.block + y * inp.row + x * inp.column)
    dy, dx = np.array(shifts, np.int64).reshape(-1, 2).T
    y, x = y[:, None] + dy, x[:, None] + dx
    return places, (y >= 0) & (y < inp.height) & (x >= 0) & (x < inp.width)
