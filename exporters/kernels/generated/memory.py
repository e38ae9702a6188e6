"""Memory for generated code: written first, then only read and run."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from functools import cache

from sparsebench.exporters.kernels.compiled.build import cpu_flags
from sparsebench.exporters.kernels.compiled.pages import give_back
from sparsebench.models.errors import SparsebenchError

LIMIT = 96 * 2**20  # bytes of one network's code
_HUGE = 2 * 2**20  # a page that one entry of the processor's table of addresses covers
_LINE = 64


class CodeMemory:
    """Functions in memory of their own, which cannot be written once they can be run.

    Args:
        functions: machine code that does not depend on where it lies.

    Attributes:
        addresses: of each function.
        size: bytes of them all.

    Raises:
        SparsebenchError: they are larger than :data:`LIMIT`, or the system gives no memory, or
            does not let it be run.
    """

    def __init__(self, functions: Sequence[bytes]) -> None:
        give_back()  # emitting takes many times the code
        places, end = [], 0
        for code in functions:
            places.append(end)
            end += -(-len(code) // _LINE) * _LINE
        self.size = end
        if end > LIMIT:
            raise SparsebenchError(
                f"The code would have {end / 2**20:.0f} MiB, more than {LIMIT / 2**20:.0f}.",
                "Networks with more weights run by the kernels that read their pattern.",
            )
        room = -(-max(end, 1) // _HUGE) * _HUGE
        try:
            # Shared memory, Python's default, would not get huge pages.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._memory = mmap.mmap(-1, room + _HUGE, flags=flags)
        except OSError as error:
            raise SparsebenchError(
                f"There is no memory for generated code: {error.strerror}.", "Free some."
            ) from error
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        skip = -start % _HUGE
        if hasattr(mmap, "MADV_HUGEPAGE") and end >= _HUGE // 2:
            self._memory.madvise(mmap.MADV_HUGEPAGE, skip, room)
        for code, place in zip(functions, places, strict=True):
            self._memory[skip + place : skip + place + len(code)] = code
        self.addresses = tuple(start + skip + place for place in places)
        _protect(start, room + _HUGE)


def _protect(start: int, size: int) -> None:
    """Make pages readable and executable and nothing else.

    Raises:
        SparsebenchError: the system does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if libc.mprotect(start, size, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SparsebenchError(
            f"This system does not run generated code: {reason}.",
            "The kernels that read their pattern run instead.",
        )


def no_code(isa: str, dtype: str) -> str:
    """Why code of whole AVX-512 registers cannot be generated here for kernels of a kind, or
    nothing."""
    if (isa, dtype) != ("avx512", "float32"):
        return f"Code is generated for avx512 and float32, not {isa} and {dtype}."
    return refusal()


def no_forward_code(isa: str, dtype: str) -> str:
    """Why code of layers, of registers of any width, cannot be generated here, or nothing."""
    if isa not in ("avx512", "avx2") or dtype != "float32":
        return f"Code is generated for avx512 or avx2 and float32, not {isa} and {dtype}."
    return refusal()


def no_pairs(isa: str, dtype: str) -> str:
    """Why code of pairs of bf16 cannot be generated here for kernels of a kind, or nothing."""
    if "avx512_bf16" not in cpu_flags():
        return "This processor has no instructions for bf16 (avx512_bf16)."
    return no_code(isa, dtype)


def no_pairs_of_channels(isa: str, dtype: str = "float32") -> str:
    """Why code of activations stored in bf16 cannot be generated here, or nothing.

    It shifts and adds whole registers of float32, so instructions for bf16 are not needed.
    """
    if isa != "avx512":
        return f"Code that stores bf16 is generated for AVX-512, which {isa} does not have."
    return no_code(isa, dtype)


def no_bytes(isa: str = "avx512") -> str:
    """Why code of bytes (INT8) cannot be generated here for kernels of a kind, or nothing."""
    if isa != "avx512" or "avx512_vnni" not in cpu_flags():
        asked = isa if isa != "avx512" else "this processor"
        return f"INT8 code is generated for AVX-512 with VNNI, which {asked} does not have."
    return refusal()


@cache
def refusal() -> str:
    """Why generated code cannot run here, or nothing; tried once with one that only returns."""
    try:
        code = CodeMemory([b"\xc3"])
        ctypes.CFUNCTYPE(None)(code.addresses[0])()
    except (SparsebenchError, OSError, AttributeError) as error:
        return getattr(error, "cause", str(error))
    return ""
