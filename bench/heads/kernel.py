"""The compiled training of heads as Python sees it: a C structure and a function, by ctypes."""

from __future__ import annotations

from ctypes import POINTER, Structure, byref, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sparsebench.exporters.kernels.compiled import build as building
from sparsebench.models.errors import SparsebenchError

# Floats of a cache line: rows of features and weights are a multiple of it.
LINE = 16
SOURCES = building.Sources(
    name="heads",
    title="kernels for linear heads",
    folder=Path(__file__).parent / "source",
    units=(("sgd", "sgd.cpp", "-DHEADS"),),
    includes=(building.SOURCE,),  # vector.h, pool.h
)


class CBlock(Structure):
    """``Block`` of sgd.cpp."""

    _fields_ = (
        ("features", c_void_p),
        ("labels", c_void_p),
        ("orders", c_void_p),
        ("rates", c_void_p),
        ("decays", c_void_p),
        ("weights", c_void_p),
        ("velocity", c_void_p),
        ("bias", c_void_p),
        ("bias_velocity", c_void_p),
        ("scratch", c_void_p),
        ("losses", c_void_p),
        ("diverged", c_void_p),
        ("count", c_int64),
        ("width", c_int64),
        ("batch", c_int64),
        ("room", c_int64),
        ("epochs", c_int32),
        ("heads", c_int32),
        ("classes", c_int32),
        ("momentum", c_float),
    )


class HeadKernel:
    """The compiled library.

    Attributes:
        isa: the instruction set it was compiled for.
    """

    def __init__(self, isa: str) -> None:
        self.isa = isa
        # ctypes releases the GIL around the call.
        self._train = building.load(isa, "float32", SOURCES).heads_train
        self._train.argtypes = (POINTER(CBlock), c_int32, c_int32)
        self._train.restype = None

    def train(self, block: CBlock, threads: int, *, together: bool) -> None:
        """Train all heads for the block's epochs; see sgd.cpp."""
        self._train(byref(block), threads, together)


@dataclass(frozen=True)
class Found:
    """The kernel, or why there is none.

    Attributes:
        kernel: None where it cannot be compiled.
        reason: then why; else empty.
    """

    kernel: HeadKernel | None
    reason: str = ""


def find_kernel(*, portable: bool = False) -> Found:
    """The kernel for this machine, compiled (a few seconds) when it is first asked for.

    Without vectors of 32 bytes PyTorch's own products are faster (measured with ``portable``
    code: up to four times for many classes), so there is none for training then.

    Args:
        portable: give the kernel nevertheless.

    Raises:
        SparsebenchError: ``SPARSEBENCH_KERNEL_ISA`` asks for what this machine does not run.
    """
    isa = building.chosen_isa()
    if isa == "portable" and not portable:
        return Found(None, "Without AVX2 PyTorch trains linear heads faster than the kernel.")
    return _find(isa)


@cache
def _find(isa: str) -> Found:
    try:
        return Found(HeadKernel(isa))
    except SparsebenchError as error:
        return Found(None, str(error))
