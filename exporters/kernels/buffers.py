"""Memory for activations that is kept from step to step.

Fresh memory is cleared by the kernel page by page; at the speed of these kernels that
would be a good part of a step. Large buffers ask for huge pages.
"""

from __future__ import annotations

import mmap

import torch
from torch import Tensor

_HUGE = 1 << 21


class Buffers:
    """Tensors by their number of elements; whoever takes one gives it back or drops it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._item = torch.empty(0, dtype=dtype).element_size()
        self._free: dict[int, list[Tensor]] = {}

    def take(self, numel: int) -> Tensor:
        """An uninitialised tensor, aligned to 64 bytes."""
        free = self._free.get(numel)
        if free:
            return free.pop()
        size = numel * self._item
        room = size + (_HUGE if size >= _HUGE else 64)
        memory = mmap.mmap(-1, room)
        if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        whole = torch.frombuffer(memory, dtype=torch.uint8)
        first = -whole.data_ptr() % (_HUGE if size >= _HUGE else 64)
        return whole[first : first + size].view(self._dtype)

    def give(self, buffer: Tensor) -> None:
        """Take a tensor back; nobody else may hold it."""
        self._free.setdefault(buffer.numel(), []).append(buffer)

    def clear(self) -> None:
        """Return all free memory to the system."""
        self._free.clear()


def pointer(tensor: Tensor | None) -> int | None:
    """Where a tensor's data begin; None for none."""
    return None if tensor is None else tensor.data_ptr()
