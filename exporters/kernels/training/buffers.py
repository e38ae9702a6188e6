"""Memory for activations that is kept from step to step.

Fresh memory is cleared by the kernel page by page; at the speed of these kernels that
would be a good part of a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparsebench.exporters.kernels.compiled.pages import aligned


class Buffers:
    """Tensors by their number of elements; whoever takes one gives it back or drops it.

    What is kept free is at most what one pass needs, so that images of many sizes do not add
    up; the sizes that were wanted longest ago go first.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._item = torch.empty(0, dtype=dtype).element_size()
        self._free: dict[int, list[Tensor]] = {}
        self._used: dict[int, int] = {}  # of each size, by this pass
        self._peaks: dict[int, int] = {}
        self._pass = self._most = self._kept = 0  # elements

    def begin(self) -> None:
        """A pass begins: what was dropped before it is in use no longer."""
        self._used, self._peaks, self._pass = {}, {}, 0

    def take(self, numel: int) -> Tensor:
        """An uninitialised tensor, aligned to 64 bytes."""
        self._used[numel] = self._used.get(numel, 0) + 1
        if self._used[numel] > self._peaks.get(numel, 0):
            self._peaks[numel] = self._used[numel]
            self._pass += numel
            self._most = max(self._most, self._pass)
        free = self._free.pop(numel, None)
        if free:
            self._kept -= numel
            tensor = free.pop()
            self._free[numel] = free  # at the end: wanted last
            return tensor
        return torch.from_numpy(aligned(numel * self._item)).view(self._dtype)

    def give(self, buffer: Tensor) -> None:
        """Take a tensor back; nobody else may hold it."""
        numel = buffer.numel()
        self._free.setdefault(numel, []).append(buffer)
        self._kept += numel
        self._used[numel] = max(0, self._used.get(numel, 0) - 1)
        while self._kept > self._most:
            oldest = next(size for size, free in self._free.items() if free)
            self._free[oldest].pop()
            self._kept -= oldest

    def clear(self) -> None:
        """Return all free memory to the system."""
        self._free.clear()
        self._kept = 0


def pointer(tensor: Tensor | None) -> int | None:
    """Where a tensor's data begin; None for none."""
    return None if tensor is None else tensor.data_ptr()
