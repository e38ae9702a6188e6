"""The blocked layout ``[C][B][H][W][L]``: L images side by side in one vector register.

B is the number of blocks, ceil(N / L). A channel's planes lie side by side, and channels
are padded apart so that the same place of different channels falls into different sets of
the caches; powers of two, which sizes of networks are, would otherwise collide.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property

from sparsebench.exporters.kernels.compiled.library import CShape

_CACHE_SETS = 64  # of the first-level cache on every machine we know


def spread(vectors: int, lanes: int, item_bytes: int) -> int:
    """Distance in elements of channels that hold so many vectors."""
    line = max(1, 64 // (lanes * item_bytes))
    # Channels step through the sets by a number of lines coprime to 64 that is close to
    # what a tile uses of one channel, so that the tiles of neighbours lie side by side.
    step = 17 * line
    period = _CACHE_SETS * line
    return (vectors + (step - vectors) % period if vectors >= 8 else vectors) * lanes


@dataclass(frozen=True)
class Blocked:
    """Shape of a blocked tensor.

    Attributes:
        images: N.
        channels: C.
        height: H.
        width: W.
        lanes: L.
        item_bytes: 4 or 8.
    """

    images: int
    channels: int
    height: int
    width: int
    lanes: int
    item_bytes: int = 4

    @property
    def blocks(self) -> int:
        """B, the last block may hold fewer than L images."""
        return -(-self.images // self.lanes)

    @property
    def plane(self) -> int:
        """H * W, in vectors."""
        return self.height * self.width

    @cached_property
    def channel_stride(self) -> int:
        """Distance of two channels in elements."""
        return spread(self.blocks * self.plane, self.lanes, self.item_bytes)

    @property
    def numel(self) -> int:
        """Elements of the whole tensor, padding included."""
        return self.channels * self.channel_stride

    @cached_property
    def c(self) -> CShape:
        """As the kernels read it."""
        return CShape(self.channels, self.blocks, self.plane, self.channel_stride, self.images)

    @cached_property
    def reference(self) -> ctypes._CArgObject | object:
        """A pointer to :attr:`c`."""
        return ctypes.byref(self.c)
