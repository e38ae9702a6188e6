"""Memory for activations straight from the system: aligned, and of huge pages where it is large.

Without PyTorch, whose import takes seconds: a process that only runs networks does without it.
"""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
from numpy.typing import NDArray

_HUGE, _LINE = 1 << 21, 64


def aligned(size: int) -> NDArray[np.uint8]:
    """``[size]`` zeros, aligned to 64 bytes; from 2 MiB on to huge pages, which are asked for.

    Args:
        size: bytes.
    """
    step = _HUGE if size >= _HUGE else _LINE
    # Shared memory, Python's default, would not get huge pages.
    memory = mmap.mmap(-1, size + step, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = np.frombuffer(memory, np.uint8)
    first = -whole.ctypes.data % step
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        # What is behind the last whole huge page would take another.
        end = first + size // _HUGE * _HUGE
        memory.madvise(mmap.MADV_HUGEPAGE, first, end - first)
        memory.madvise(mmap.MADV_NOHUGEPAGE, end, len(memory) - end)
    return whole[first : first + size]


def give_back() -> None:
    """Return to the system what is free between this process's other allocations: glibc would keep
    it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
