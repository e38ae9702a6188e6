"""The operators of lanes.cpp and lines.cpp as Python sees them, by ctypes."""

from __future__ import annotations

from ctypes import Structure, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from sparsebench.exporters.kernels.compiled import build as building

SOURCES = building.Sources(
    name="lanes",
    title="kernels of one image a lane",
    folder=Path(__file__).parent / "source",
    units=(("lanes", "lanes.cpp", "-DLANES"), ("lines", "lines.cpp", "-DLANES")),
    includes=(building.SOURCE,),  # vector.h, pool.h, folded.h
)
DIMS = 4
REGISTER, VALUE, CONSTANT, NUMBER = range(4)


class COperand(Structure):
    """``Operand`` of lanes.cpp."""

    _fields_ = (
        ("where", c_int32),
        ("number", c_int32),
        ("base", c_void_p),
        ("outer", c_int64 * DIMS),
        ("row", c_int64),
        ("value", c_float),
        ("length", c_int32),
    )


class CInstruction(Structure):
    """``Instruction`` of lanes.cpp."""

    _fields_ = (
        ("op", c_int32),
        ("length", c_int32),
        ("a", COperand),
        ("b", COperand),
        ("out", COperand),
        ("keep", c_int32),
        ("unused", c_int32),
        ("first", c_float),
        ("second", c_float),
    )


class CRows(Structure):
    """``Rows`` of lanes.cpp."""

    _fields_ = (
        ("dims", c_int64 * DIMS),
        ("length", c_int64),
        ("piece", c_int64),
        ("count", c_int64),
        ("registers", c_int64),
        ("instructions", c_void_p),
    )


class CProduct(Structure):
    """``Product`` of lanes.cpp."""

    _fields_ = (
        ("batch", c_int64 * DIMS),
        ("m", c_int64),
        ("n", c_int64),
        ("k", c_int64),
        ("a", c_void_p),
        ("b", c_void_p),
        ("out", c_void_p),
        ("a_batch", c_int64 * DIMS),
        ("a_m", c_int64),
        ("a_k", c_int64),
        ("b_batch", c_int64 * DIMS),
        ("b_k", c_int64),
        ("b_n", c_int64),
        ("out_batch", c_int64 * DIMS),
        ("out_m", c_int64),
        ("out_n", c_int64),
    )


class CPlanes(Structure):
    """``Window`` of lanes.cpp."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                *("channels", "height", "width", "in_height", "in_width"),
                *("kernel_y", "kernel_x", "stride_y", "stride_x", "top", "left"),
                *("dilation_y", "dilation_x"),
            )
        ),
        ("inp", c_void_p),
        ("out", c_void_p),
        *((name, c_int64) for name in ("in_c", "in_y", "in_x", "out_c", "out_y", "out_x")),
        ("mean", c_int32),
        ("count_all", c_int32),
    )


class CSparse(Structure):
    """``Sparse`` of lanes.cpp."""

    _fields_ = (
        ("channels", c_int64),
        ("in_channel", c_int64),
        ("out_channel", c_int64),
        ("starts", c_void_p),
        ("offsets", c_void_p),
        ("taps", c_void_p),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("places", c_void_p),
        ("places_count", c_int64),
        ("act", c_int32),
        ("all_seen", c_int32),
    )


class CCopy(Structure):
    """``Copy`` of lines.cpp."""

    _fields_ = (("size", c_int64 * 4), ("inp", c_int64 * 4), ("out", c_int64 * 4))


class CEdges(Structure):
    """``Edges`` of lines.cpp."""

    _fields_ = tuple(
        (name, c_int64) for name in ("channels", "channel", "height", "width", "pitch", "body")
    )


class CLines(Structure):
    """``Lines`` of lines.cpp."""

    _fields_ = tuple(
        (name, c_int64)
        for name in (
            *("channels", "height", "width", "in_height", "in_width"),
            *("kernel_y", "kernel_x", "stride_y", "stride_x", "top", "left"),
            *("in_channel", "in_row", "out_channel", "out_row", "mean", "count_all"),
        )
    )


class CStep(Structure):
    """``Step`` of lines.cpp."""

    _fields_ = (
        ("kind", c_int64),
        ("what", c_void_p),
        *((name, c_void_p) for name in "abc"),
        ("room", c_int64),
        ("each", c_int64),
    )


_P, _I, _L = c_void_p, c_int32, c_int64
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "lanes_gather": (_P, _L, _L, _L, _P, _I),
    "lanes_scatter": (_P, _L, _L, _L, _P),
    "lanes_rows": (_P, _P, _L, _L, _I),
    "lanes_product": (_P, _I),
    "lanes_window": (_P, _I),
    "lanes_generated": (_P, _P, _P, _P, _I),
    "lanes_sparse": (_P, _P, _P, _P, _I),
    "lines_run": (_P, _L, _I),
}


class LaneLibrary:
    """The compiled library; its functions are attributes, those of lanes without the ``lanes_``.

    Attributes:
        isa: the instruction set it was compiled for.
        lanes: images in a vector.
    """

    def __init__(self, isa: str) -> None:
        self.isa = isa
        # ctypes releases the GIL around every call.
        self._handle = building.load(isa, "float32", SOURCES)
        self.lanes = int(self._handle.lanes_width())
        for name, arguments in _SIGNATURES.items():
            function = getattr(self._handle, name)
            function.argtypes, function.restype = arguments, None
            setattr(self, name.removeprefix("lanes_"), function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the kernels have no function '{name}'")


@cache
def lane_library(isa: str) -> LaneLibrary:
    """The kernels for an instruction set, compiled on the first call.

    Raises:
        SparsebenchError: there is no compiler, or it fails.
    """
    return LaneLibrary(isa)
