"""The layout of groups of images: planes folded into pieces that lie side by side in a register.

A register's lanes are P images times a grid of A x B equal pieces of their planes. In each
piece the same place of all lanes is one vector, so a tap of a convolution reads whole aligned
vectors, as if the pieces were images. Around each piece lies a border in memory that is
copied from its neighbours (or is the padding) before a kernel needs it. With large planes few
images fill a register, and a group of images is small enough to stay in the caches from
layer to layer; with small planes it is P = lanes images, one whole plane for each lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# Places of a piece along each axis. For kernels that read their pattern smaller ones are mostly
# border, and their tiles are small; generated code takes a place at a time.
LEAST_PIECE = 4
_SMALL = 32  # vectors


@dataclass(frozen=True)
class Fold:
    """How the lanes of a vector are used.

    Attributes:
        images: P, of one vector.
        down: A, pieces of a plane's height.
        across: B, pieces of its width.
        blocks: vectors side by side, each of P other images; more than one only of whole planes.
    """

    images: int
    down: int
    across: int
    blocks: int = 1

    @property
    def whole(self) -> bool:
        """Whether a lane holds a whole plane."""
        return self.down == self.across == 1

    @property
    def group(self) -> int:
        """DecodedImages of a tensor."""
        return self.images * self.blocks

    def fits(self, size: tuple[int, int], before: tuple[int, int], stride: int, least: int) -> bool:
        """Whether a layer's input (`before`) and output planes can be folded like this, into
        pieces of at least `least` places along each axis."""
        pieces = (self.down, self.across)
        return self.whole or all(
            out % n == inp % n == 0 and inp == stride * out and out // n >= least
            for n, out, inp in zip(pieces, size, before, strict=True)
        )


def folds(lanes: int) -> Iterator[Fold]:
    """All folds of one block, those of the fewest images first."""
    pieces = lanes
    while pieces >= 1:
        across = 1 << ((pieces.bit_length() - 1) // 2)
        yield Fold(lanes // pieces, pieces // across, across)
        pieces //= 2


@dataclass(frozen=True)
class Folded:
    """Shape of a folded tensor of vectors.

    Attributes:
        fold: how the lanes are used.
        channels: C.
        height: of a piece.
        width: of a piece.
        plane: (height, width) of a whole plane; the pieces may reach beyond it.
        halo: places of border on each side of a piece.
        lanes: of a vector.
        item_bytes: 4 or 8.
        pixel_major: whether the layout is ``[blocks][rows][row][C]``.
    """

    fold: Fold
    channels: int
    height: int
    width: int
    plane: tuple[int, int]
    halo: int
    lanes: int
    item_bytes: int = 4
    pixel_major: bool = False

    @property
    def padded(self) -> bool:
        """Whether there are pixels outside of the plane."""
        fold = self.fold
        return self.plane != (fold.down * self.height, fold.across * self.width)

    @property
    def row(self) -> int:
        """Vectors of one row, border included."""
        return self.width + 2 * self.halo

    @property
    def rows_outer(self) -> bool:
        """Whether the layout is ``[rows][C][row]``: a tile's channels then lie side by side.

        Small planes are ``[C][rows][row][blocks]``: theirs do so anyhow.
        """
        small = self.height * self.width <= _SMALL
        return self.fold.blocks == 1 and not small and not self.pixel_major

    @cached_property
    def channel_stride(self) -> int:
        """Distance of two channels in elements."""
        if self.pixel_major:
            return self.lanes
        if self.rows_outer:
            return self.row * self.lanes
        return (self.height + 2 * self.halo) * self.row_stride

    @property
    def row_stride(self) -> int:
        """Distance of two rows in elements."""
        if self.pixel_major:
            return self.row * self.column_stride
        # One vector more, so that rows do not fall into the same sets of the caches.
        row = self.channels * self.row + 1 if self.rows_outer else self.row * self.fold.blocks
        return row * self.lanes

    @property
    def column_stride(self) -> int:
        """Distance of two places of a row in elements; blocks are neighbours."""
        return (self.channels if self.pixel_major else self.fold.blocks) * self.lanes

    @property
    def block_stride(self) -> int:
        """Distance of two blocks in elements."""
        if self.pixel_major:
            return (self.height + 2 * self.halo) * self.row_stride
        return self.lanes

    @property
    def lead(self) -> int:
        """Elements in front of the first place that is no border."""
        return self.halo * (self.row_stride + self.column_stride)

    @property
    def bytes(self) -> int:
        """Of the whole tensor, padding included."""
        if self.pixel_major:
            return self.fold.blocks * self.block_stride * self.item_bytes
        if self.rows_outer:
            return (self.height + 2 * self.halo) * self.row_stride * self.item_bytes
        return self.channels * self.channel_stride * self.item_bytes

    @property
    def lines(self) -> tuple[int, int, int]:
        """(number, vectors, distance in elements) of what is contiguous, from the first place
        that is no border to the last."""
        if self.rows_outer:
            return self.height, self.channels * self.row - 2 * self.halo, self.row_stride
        if self.pixel_major:
            lines = self.fold.blocks * self.height  # blocks have no borders
            return lines, self.channels * self.width, self.row_stride
        inner = (self.height - 1) * self.row + self.width
        return self.channels, inner * self.fold.blocks, self.channel_stride

    def places(self) -> NDArray[np.int32]:
        """``[blocks, height * width]``: where each place lies in a channel, elements."""
        block = np.arange(self.fold.blocks)[:, None, None] * self.block_stride
        y = np.arange(self.height)[None, :, None] * self.row_stride
        found = block + y + np.arange(self.width)[None, None, :] * self.column_stride
        return found.reshape(self.fold.blocks, -1).astype(np.int32)

    def pixel(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(image of the block ``[lanes]``, y and x in the plane ``[height * width, lanes]``)."""
        fold = self.fold
        lane = np.arange(self.lanes)
        image = lane // (fold.down * fold.across)
        down, across = lane // fold.across % fold.down, lane % fold.across
        y, x = (axis.reshape(-1, 1) for axis in np.mgrid[: self.height, : self.width])
        return image, down * self.height + y, across * self.width + x

    def locate(
        self, y: NDArray[np.int64], x: NDArray[np.int64], image: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Elements from a channel's first place to a pixel of one of the tensor's images."""
        fold = self.fold
        block, one = image // fold.images, image % fold.images
        lane = (one * fold.down + y // self.height) * fold.across + x // self.width
        found: NDArray[np.int64] = (
            block * self.block_stride + x % self.width * self.column_stride + lane
        )
        found += y % self.height * self.row_stride
        return found


def border_moves(shape: Folded) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What fills the borders, and what lies outside of the planes.

    Returns:
        (to, from, permutation) of each vector, and the permutations ``[n, lanes]``: the
        neighbour's lane, or ``lanes`` for what lies outside of the plane.
    """
    fold, lanes = shape.fold, shape.lanes
    lane = np.arange(lanes)
    down, across = lane // fold.across % fold.down, lane % fold.across
    moves: list[tuple[int, int, int]] = []
    known: dict[bytes, int] = {lane.astype(np.int32).tobytes(): -1}  # nothing to do
    for y in range(-shape.halo, shape.height + shape.halo):
        for x in range(-shape.halo, shape.width + shape.halo):
            row, column = down * shape.height + y, across * shape.width + x
            inside = (row >= 0) & (row < shape.plane[0]) & (column >= 0) & (column < shape.plane[1])
            (dy, source_y), (dx, source_x) = divmod(y, shape.height), divmod(x, shape.width)
            found = np.where(inside, lane + dy * fold.across + dx, lanes).astype(np.int32)
            permutation = known.setdefault(found.tobytes(), len(known) - 1)
            if permutation >= 0:
                to, source = (
                    i * shape.row_stride + j * shape.column_stride
                    for i, j in ((y, x), (source_y, source_x))
                )
                moves.append((to, source, permutation))
    if fold.blocks > 1:  # whole planes: the same around each
        blocks = (np.arange(fold.blocks) * shape.block_stride).tolist()
        moves = [(to + b, source + b, which) for b in blocks for to, source, which in moves]
    tables = np.frombuffer(b"".join(known), np.int32).reshape(-1, lanes)[1:]
    return np.array(moves, np.int32).reshape(-1, 3), np.ascontiguousarray(tables)
