"""The layout for small batches: neighbouring pixels, not images, side by side in a register.

A channel is one line of pixels, N images of ``rows`` rows of ``row`` pixels each. H x W of
them are the image, the others are zero and serve as the padding of what comes next: a tap
of a convolution is then the same line, shifted, without any care for borders. A stride is
taken apart first: its phases become channels of their own, and each tap reads one of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.assembly import Plan, Tiles, assemble
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import spread
from sparsebench.exporters.kernels.compiled.library import CLine
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.compiled.tiling import tile_shapes

# Vectors of a tile's surroundings in one block of channels: a quarter of the second-level
# cache. Smaller blocks store and load the sums too often; measured best on large planes.
CACHE_VECTORS = 4000


@dataclass(frozen=True)
class Pixels:
    """Shape of a tensor of pixel lines.

    Attributes:
        images: N.
        channels: C.
        height: H.
        width: W.
        rows: of one image, those of zeros included.
        row: pixels of one row, those of zeros included.
        lanes: pixels of one vector.
        item_bytes: 4 or 8.
    """

    images: int
    channels: int
    height: int
    width: int
    rows: int
    row: int
    lanes: int
    item_bytes: int = 4

    @property
    def vectors(self) -> int:
        """That hold pixels of one channel."""
        return -(-((self.images - 1) * self.rows + self.height) * self.row // self.lanes)

    @property
    def lead(self) -> int:
        """Zeros in front of each channel, elements: its first rows' padding, and the last
        rows' of the channel before."""
        zeros = (self.rows - self.height) * self.row + self.row - self.width
        return -(-zeros // self.lanes) * self.lanes

    @cached_property
    def channel_stride(self) -> int:
        """Distance of two channels in elements."""
        vectors = self.lead // self.lanes + self.vectors
        return spread(vectors, self.lanes, self.item_bytes)

    @property
    def numel(self) -> int:
        """Elements of the whole tensor. Behind the last channel lies room that may be read."""
        room = self.lead + (self.rows * self.row // self.lanes + 2) * self.lanes
        return self.channels * self.channel_stride + room

    def mask(self) -> NDArray[np.uint32]:
        """All bits set for the pixels of images, none for the others; of one channel."""
        bits = np.zeros((self.images, self.rows, self.row), bool)
        bits[:, : self.height, : self.width] = True
        found = np.zeros(self.vectors * self.lanes, bool)
        found[: min(bits.size, found.size)] = bits.reshape(-1)[: found.size]
        words = self.item_bytes // 4
        return np.repeat(np.where(found, np.uint32(0xFFFFFFFF), np.uint32(0)), words)

    @cached_property
    def c(self) -> CLine:
        """As the kernels read it; data begin ``lead`` elements into the tensor."""
        image = self.rows * self.row
        return CLine(
            self.images,
            self.channels,
            self.height,
            self.width,
            self.channel_stride,
            image,
            self.row,
        )


@dataclass(frozen=True)
class _Axis:
    """One axis of a convolution: tap k of output i reads phase[k] at i + shift[k]."""

    phase: tuple[int, ...]
    shift: tuple[int, ...]

    @classmethod
    def of(cls, geometry: Geometry, axis: int) -> _Axis:
        stride, dilation = geometry.stride[axis], geometry.dilation[axis]
        places = [dilation * k - geometry.padding[axis] for k in range(geometry.kernel[axis])]
        return cls(tuple(p % stride for p in places), tuple(p // stride for p in places))

    def pitch(self, size: int, out: int) -> int:
        """Places from one row (or image) to the next that leave room for all shifts."""
        return max(size + max(0, -min(self.shift)), out + max(0, max(self.shift)))


class PixelConvolution:
    """Where a convolution reads and writes, for one shape of input.

    Attributes:
        inp: shape that the kernel reads: that of the input, or of its phases.
        out: shape of the output.
        phases: (vertical, horizontal) offsets that become channels, or None where the input
            is read as it is.
    """

    def __init__(self, geometry: Geometry, given: Pixels, plain: bool = False) -> None:
        """`plain`: the input are images as they came, which must be copied."""
        self.geometry = geometry
        self.height, self.width = geometry.output_size(given.height, given.width)
        self._y, self._x = _Axis.of(geometry, 0), _Axis.of(geometry, 1)
        fits = (
            geometry.stride == (1, 1)
            and self._y.pitch(given.height, self.height) <= given.rows
            and self._x.pitch(given.width, self.width) <= given.row
        )
        self.phases: list[tuple[int, int]] | None = None
        self.inp = given
        if plain or not fits:
            self.phases = sorted({(y, x) for y in self._y.phase for x in self._x.phase})
            self.inp = self._phased(given)
        self.out = Pixels(
            given.images,
            geometry.out_channels,
            self.height,
            self.width,
            self.inp.rows,
            self.inp.row,
            given.lanes,
            given.item_bytes,
        )

    def _phased(self, given: Pixels) -> Pixels:
        assert self.phases is not None
        sy, sx = self.geometry.stride
        # What no output reads is left out; a convolution of 1x1 reads every second pixel only.
        height = min(-(-given.height // sy), self.height + max(0, *self._y.shift, 0))
        width = min(-(-given.width // sx), self.width + max(0, *self._x.shift, 0))
        return Pixels(
            given.images,
            given.channels * len(self.phases),
            height,
            width,
            # One zero at least: a following 3x3 convolution then needs no copy.
            max(self._y.pitch(height, self.height), self.height + 1),
            max(self._x.pitch(width, self.width), self.width + 1),
            given.lanes,
            given.item_bytes,
        )

    def plan(self, pattern: Pattern, *, threads: int, most: int, most_alike: int) -> Plan:
        """The pattern compiled: tiles are pieces of a line, every tap sees the whole of them."""
        inp, out, lanes = self.inp, self.out, self.inp.lanes
        phases = self.phases or [(0, 0)]
        rank = {phase: i for i, phase in enumerate(phases)}
        y, x = self._y, self._x
        numbers = np.array([[rank[a, b] for b in x.phase] for a in y.phase], np.int64)
        channel = pattern.inp * len(phases) + numbers[pattern.ky, pattern.kx]
        shift = np.array(y.shift)[pattern.ky] * inp.row + np.array(x.shift)[pattern.kx]
        alike = pattern.alike(self.geometry.out_channels)
        widest = most_alike if alike else most
        tiles = Tiles()
        tiles.sets[((0, 1, 0),)] = 0
        pieces = -(-out.vectors // widest)
        bounds = [out.vectors * i // pieces for i in range(pieces + 1)]
        shapes = tile_shapes()
        for first, end in itertools.pairwise(bounds):
            place = first * lanes
            tiles.rows.append((place, place, shapes.index((1, 1, end - first)), 0))
        reach = (max(y.shift) - min(y.shift)) * inp.row + max(x.shift) - min(x.shift)
        used = min(widest, out.vectors) + -(-reach // lanes) + 1
        split = 1
        if self.geometry.groups == 1:
            together = max(1, CACHE_VECTORS // used)
            split = -(-inp.channels // together)
        return assemble(
            own_channel=pattern.out,
            channels=self.geometry.out_channels,
            block=pattern.inp * split // self.geometry.in_channels,
            blocks=split,
            tap=np.zeros(len(pattern), np.int64),
            taps=1,
            offset=channel * inp.channel_stride + shift,
            tiles=tiles,
            threads=threads,
            stride=1,
            must_own=False,
            alike=alike,
            mask=out.mask(),
            strides={
                "item_bytes": inp.item_bytes,
                "own_channel": out.channel_stride,
                "own_block": 0,
                "own_row": 0,
                "own_column": lanes,
                "other_block": 0,
                "other_row": 0,
                "other_channel": inp.channel_stride,
                "other_channels": inp.channels,
                "ahead": max(y.shift) * inp.row,
            },
        )
