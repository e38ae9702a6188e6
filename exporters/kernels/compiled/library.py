"""The compiled kernels as Python sees them: C structures and functions, by ctypes."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, Structure, c_double, c_float, c_int32, c_int64, c_void_p
from functools import cache, cached_property
from typing import Any

from sparsebench.exporters.kernels.compiled.build import (
    PARTS,
    build,
    checked_isa,
    chosen_isa,
    cpu_flags,
    load,
)
from sparsebench.models.cpus import usable_cpus

NONE, RELU, RELU6 = 0, 1, 2


class CPlan(Structure):
    """``Plan`` of plan.h."""

    _fields_ = (
        ("rows", c_int32),
        ("blocks", c_int32),
        ("taps", c_int32),
        ("stride", c_int32),
        ("tiles_count", c_int64),
        ("starts", c_void_p),
        ("entries", c_void_p),
        ("tiles", c_void_p),
        ("run_sets", c_void_p),
        ("runs", c_void_p),
        ("own_channel", c_int64),
        ("own_block", c_int64),
        ("own_row", c_int64),
        ("own_column", c_int64),
        ("other_block", c_int64),
        ("other_row", c_int64),
        ("other_channel", c_int64),
        ("other_channels", c_int64),
        ("ahead", c_int64),
        ("cuts", c_void_p),
        ("cuts_count", c_int32),
        ("row_split", c_int32),
        ("alike", c_int32),
        ("unused", c_int32),
        ("mask", c_void_p),
    )


class CLine(Structure):
    """``Line`` of pixels.cpp."""

    _fields_ = (
        ("images", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("channel", c_int64),
        ("image", c_int64),
        ("row", c_int64),
    )


class CForward(Structure):
    """``Forward`` of convolve.h."""

    _fields_ = (
        ("other", c_void_p),
        ("own", c_void_p),
        ("bias", c_void_p),
        ("residual", c_void_p),
        ("act", c_int32),
    )


class CBackward(Structure):
    """``Backward`` of convolve.h."""

    _fields_ = (
        ("other", c_void_p),
        ("own", c_void_p),
        ("own_grad", c_void_p),
        ("grads", c_void_p),
        ("accumulate", ctypes.c_bool),
    )


class CShape(Structure):
    """``Shape`` of elementwise.h."""

    _fields_ = (
        ("channels", c_int64),
        ("blocks", c_int64),
        ("plane", c_int64),
        ("channel_stride", c_int64),
        ("images", c_int64),
    )


class CNorm(Structure):
    """``Norm`` of elementwise.h."""

    _fields_ = (
        ("shape", CShape),
        ("input", c_void_p),
        ("residual", c_void_p),
        ("output", c_void_p),
        ("kept_input", c_void_p),
        ("kept_output", c_void_p),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("mean", c_void_p),
        ("inverse", c_void_p),
        ("running_mean", c_void_p),
        ("running_var", c_void_p),
        ("eps", c_double),
        ("momentum", c_double),
        ("training", c_int32),
        ("act", c_int32),
    )


class CNormBackward(Structure):
    """``NormBackward`` of elementwise.h."""

    _fields_ = (
        ("shape", CShape),
        ("output_grad", c_void_p),
        ("output", c_void_p),
        ("input", c_void_p),
        ("input_grad", c_void_p),
        ("weight", c_void_p),
        ("mean", c_void_p),
        ("inverse", c_void_p),
        ("weight_grad", c_void_p),
        ("bias_grad", c_void_p),
        ("training", c_int32),
        ("act", c_int32),
        ("keep", c_int32),
        ("halves", c_int32),
    )


class CWindow(Structure):
    """``Window`` of elementwise.h."""

    _fields_ = (
        ("input", CShape),
        ("output", CShape),
        ("in_h", c_int32),
        ("in_w", c_int32),
        ("out_h", c_int32),
        ("out_w", c_int32),
        ("kernel", c_int32),
        ("stride", c_int32),
        ("padding", c_int32),
        ("unused", c_int32),
    )


class CHalo(Structure):
    """``Halo`` of folded.h."""

    _fields_ = (
        ("channels", c_int64),
        ("channel", c_int64),
        ("moves_count", c_int64),
        ("moves", c_void_p),
        ("permutations", c_void_p),
    )


class CRegroup(Structure):
    """``Regroup`` of folded.h."""

    _fields_ = (
        ("channels", c_int64),
        ("from_channel", c_int64),
        ("to_channel", c_int64),
        ("blocks", c_int64),
        ("plane", c_int64),
        ("which", c_void_p),
        ("offsets", c_void_p),
        ("places", c_void_p),
        ("sources", c_int64),
        ("sweep", c_int64),
        ("row", c_int64),
    )


class CQuantise(Structure):
    """``Quantise`` of folded.h."""

    _fields_ = (
        ("images", CRegroup),
        ("channels", c_int64),
        ("step", c_float),
        ("zero", c_int32),
    )


class CFoldedPool(Structure):
    """``FoldedPool`` of folded.h."""

    _fields_ = tuple(
        (name, c_int64)
        for name in (
            *("channels", "blocks", "from_channel", "from_block", "from_row", "from_column"),
            *("to_channel", "to_block", "to_row", "to_column"),
            *("low_y", "high_y", "low_x", "high_x"),
            *("height", "width", "kernel", "stride", "padding"),
        )
    )


class CFoldedMean(Structure):
    """``FoldedMean`` of folded.h."""

    _fields_ = tuple(
        (name, c_int64)
        for name in (
            *("channels", "channel", "blocks", "block"),
            *("row", "column", "height", "width", "images", "area"),
        )
    )


class CReturned(Structure):
    """``Returned`` of folded.h."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                *("channels", "first", "blocks", "block", "row", "column", "images", "across"),
                *("height", "width", "plane_height", "plane_width", "of_bytes"),
            )
        ),
        ("step", c_float),
        ("zero", c_int32),
    )


class CCall(Structure):
    """``Call`` of folded.h."""

    _fields_ = (
        ("kind", c_int32),
        ("act", c_int32),
        ("inp", c_int64),
        ("out", c_int64),
        ("residual", c_int64),
        ("what", c_void_p),
        ("bias", c_void_p),
        ("fill", c_double),
        ("convolve", c_void_p),
    )


_P, _I, _L = c_void_p, c_int32, c_int64
_S, _PLAN, _LINE = POINTER(CShape), POINTER(CPlan), POINTER(CLine)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "sparse_to_blocked": (_S, _P, _P, _I),
    "sparse_from_blocked": (_S, _P, _P, _I),
    "sparse_norm": (POINTER(CNorm), _I),
    "sparse_norm_backward": (POINTER(CNormBackward), _I),
    "sparse_act": (_S, _P, _P, _P, _I, _I),
    "sparse_act_backward": (_S, _P, _P, _I, _I),
    "sparse_channel_sums": (_S, _P, _P, _I),
    "sparse_max_pool": (POINTER(CWindow), _P, _P, _I),
    "sparse_max_pool_backward": (POINTER(CWindow), _P, _P, _P, _P, _I),
    "sparse_norm_pool": (POINTER(CNorm), POINTER(CWindow), _P, _I),
    "sparse_norm_pool_backward": (POINTER(CNormBackward), POINTER(CWindow), _P, _I),
    "sparse_mean_pool": (_S, _P, _P, _I),
    "sparse_mean_pool_backward": (_S, _P, _P, _I),
    "sparse_pixel_phases": (_LINE, _LINE, _P, _I, _I, _I, _P, _P, _I),
    "sparse_pixel_max_pool": (_LINE, _LINE, _I, _I, _I, _P, _P, _I),
    "sparse_pixel_mean": (_LINE, _P, _P, _I),
    "sparse_run": (POINTER(CCall), _L, _P, _L, _L, _I, _I, _P),
    "sparse_correlate": (_P, _P, _I, _P, _P, _P, _I, _P, _I),
    "sparse_matrix_sums": (_P, _P, _I, _P, _P, _P, _P, _P, _I),
    "sparse_pack": (_L, _P, _P, _P, _I),
    "sparse_unpack": (_L, _P, _P, _P, _I),
}
_PART_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "forward1": (_PLAN, POINTER(CForward), _I),
    "forward2": (_PLAN, POINTER(CForward), _I),
    "backward": (_PLAN, POINTER(CBackward), _I),
    "weights1": (_PLAN, POINTER(CBackward), _I),
    "weights2": (_PLAN, POINTER(CBackward), _I),
}


class Library:
    """The compiled kernels; their functions are attributes without the ``sparse_``.

    The functions of :data:`~sparsebench.exporters.kernels.compiled.build.PARTS` are compiled and
    loaded when they are first asked for, or all together by :meth:`prepare`.

    Attributes:
        isa: the instruction set it was compiled for.
        dtype: ``float32`` or ``float64``.
        lanes: images in a block (VL).
        most_forward: vectors of a tile of outputs.
        most_backward: vectors of a tile of inputs beside their gradients.
        most_alike: vectors of a tile of outputs where a few channels are computed at once.
    """

    def __init__(self, isa: str, dtype: str) -> None:
        self.isa = isa
        self.dtype = dtype
        # ctypes releases the GIL around every call.
        self._handle = load(isa, dtype)
        self.lanes = int(self._handle.sparse_lanes())
        self.most_forward = int(self._handle.sparse_most_forward())
        self.most_backward = int(self._handle.sparse_most_backward())
        self.most_alike = int(self._handle.sparse_most_alike())
        for name, arguments in _SIGNATURES.items():
            function = _typed(self._handle, name, arguments)
            setattr(self, name.removeprefix("sparse_"), function)

    @cached_property
    def has_matrix(self) -> bool:
        """Whether the system lets this process use the processor's matrix unit (AMX, bf16)."""
        if not {"amx_tile", "amx_bf16", "avx512_bf16"} <= cpu_flags():
            return False
        return int(self._handle.sparse_allow_matrix()) == 0

    def __getattr__(self, name: str) -> Any:
        """A part's function, which is an attribute from then on.

        Raises:
            SparsebenchError: it cannot be compiled.
        """
        if name not in PARTS:
            raise AttributeError(f"the kernels have no function '{name}'")
        handle = load(self.isa, self.dtype, PARTS[name])
        function = _typed(handle, f"sparse_{name}", _PART_SIGNATURES[name])
        setattr(self, name, function)
        return function

    def prepare(self) -> None:
        """Compile and load every part, side by side, so that nothing compiles inside a clock.

        Raises:
            SparsebenchError: one cannot be compiled.
        """
        with ThreadPoolExecutor(usable_cpus()) as threads:
            list(threads.map(lambda name: build(self.isa, self.dtype, PARTS[name]), PARTS))
        for name in PARTS:
            getattr(self, name)


def _typed(handle: ctypes.CDLL, name: str, arguments: tuple[Any, ...]) -> Any:
    function = getattr(handle, name)
    function.argtypes, function.restype = arguments, None
    return function


@cache
def _library(isa: str, dtype: str) -> Library:
    return Library(isa, dtype)


def library(dtype: str = "float32", isa: str | None = None) -> Library:
    """The kernels for a data type, compiled on the first call.

    Args:
        dtype: ``float32`` or ``float64``.
        isa: ``avx512``, ``avx2`` or ``portable``; the machine's best by default.

    Raises:
        SparsebenchError: no compiler, or the machine lacks the instruction set, or there is none
            of this name.
    """
    return _library(checked_isa(isa) if isa else chosen_isa(), dtype)
