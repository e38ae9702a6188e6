"""Memory between two pages that may not be touched."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

_PAGE, _NOBODY = mmap.PAGESIZE, 0
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Guarded:
    """An array whose end (or begin) touches a page that may not be read or written."""

    def __init__(self, array: np.ndarray, at_end: bool) -> None:
        size = max(array.nbytes, 1)
        pages = -(-size // _PAGE)
        self._memory = mmap.mmap(-1, (pages + 2) * _PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for page in (0, pages + 1):
            assert _LIBC.mprotect(start + page * _PAGE, _PAGE, _NOBODY) == 0
        first = _PAGE + (pages * _PAGE - array.nbytes if at_end else 0)
        self.array = np.frombuffer(self._memory, array.dtype, array.size, first)
        self.array = self.array.reshape(array.shape)
        self.array[...] = array
        self.address = start + first
