"""Where the non-zeros of a tensor stand in a compact file: a bit each, or their positions.

A place is an element, or a block of :data:`BLOCK` consecutive input channels of one output
channel at one tap. Elements are counted in row-major order, blocks with the input channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsebench.models.checkpoints.containers import damaged

BLOCK = 4
_LARGEST_INDEXED = 2**31 - 1


class Places(NamedTuple):
    """One of the two encodings, and what is stored for it."""

    encoding: str
    stored: Tensor

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stored.numel() * self.stored.element_size()


def in_blocks(kept: Tensor, block: int) -> bool:
    """Whether every block of `kept` (bool, ``[out, in, ...]``) is all true or all false."""
    if kept.dim() < 2 or kept.shape[1] % block or not kept.numel():
        return False
    rows = by_channels(kept, block).reshape(-1, block)
    return bool((rows.any(1) == rows.all(1)).all())


def by_channels(kept: Tensor, block: int) -> Tensor:
    """`kept` as one row; where there are blocks, with the input channels last."""
    return (kept.movedim(1, -1) if block > 1 else kept).reshape(-1)


def of_blocks(positions: Tensor, shape: Sequence[int], block: int) -> Tensor:
    """Positions of blocks -> increasing row-major positions of their elements, int64."""
    out, inputs, *taps = shape
    kept = torch.zeros(out, *taps, inputs // block, dtype=torch.bool)
    kept.view(-1)[positions] = True
    return kept.repeat_interleave(block, -1).movedim(-1, 1).reshape(-1).nonzero().reshape(-1)


def written(places: Tensor) -> Places:
    """The smaller encoding of places (bool, one row): a bit each, or positions in 32 bits."""
    count = places.numel()
    if count <= _LARGEST_INDEXED and 4 * int(places.sum()) < (count + 7) // 8:
        return Places("indices", places.nonzero().reshape(-1).to(torch.int32))
    return Places("bitmask", torch.from_numpy(np.packbits(places.numpy())))


def _bitmask(path: Path, name: str, count: int, bits: Tensor) -> Tensor:
    if bits.dtype != torch.uint8 or bits.dim() != 1 or bits.numel() != (count + 7) // 8:
        raise damaged(path, f"the bit mask of '{name}' does not fit its {count} weights")
    flags = np.unpackbits(bits.numpy())
    if flags[count:].any():
        raise damaged(path, f"the bit mask of '{name}' is longer than its {count} weights")
    return torch.from_numpy(np.flatnonzero(flags[:count]))


def _indices(path: Path, name: str, count: int, indices: Tensor) -> Tensor:
    if indices.dtype != torch.int32 or indices.dim() != 1:
        raise damaged(path, f"the positions of '{name}' are not a list of int32")
    positions = indices.to(torch.int64)
    if positions.numel():
        increasing = bool((positions[1:] > positions[:-1]).all())
        if not increasing or int(positions[0]) < 0 or int(positions[-1]) >= count:
            raise damaged(path, f"the positions of '{name}' leave its {count} weights")
    return positions


READERS: dict[str, Callable[[Path, str, int, Tensor], Tensor]] = {
    "bitmask": _bitmask,
    "indices": _indices,
}
