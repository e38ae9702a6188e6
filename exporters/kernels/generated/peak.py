"""How fast this core multiplies and adds at best, measured with code of nothing else."""

from __future__ import annotations

import ctypes
import time
from functools import cache

import numpy as np

from sparsebench.exporters.kernels.generated import byte_encoding
from sparsebench.exporters.kernels.generated import encoding as x86
from sparsebench.exporters.kernels.generated.convolution import PLACE
from sparsebench.exporters.kernels.generated.emitter import TOTALS
from sparsebench.exporters.kernels.generated.memory import CodeMemory

# Code of less than 100 kB is slower on Zen 4, where each embedded broadcast then takes the whole of
# a load; kernels' code is longer.
_SWEEPS, _PLACES, _REPEATS = 2048, 4, 200  # 229376 multiply-adds, about 60 microseconds a call


_PAIRS_PAY = 1.6  # times as long as a multiply-add of one vector; the products are twice as many


@cache
def peak_seconds(of_bytes: bool = False, of_pairs: bool = False) -> float:
    """Seconds of one vector multiply-add whose operands are in registers.

    The code runs at the pace of kernels: straight on, each weight an embedded broadcast. The least
    processor time of several calls counts, because others disturb a machine in use.

    Args:
        of_bytes: 64 products of bytes (VNNI) instead of 16 of float32.
        of_pairs: 32 products of bf16, see :func:`pairs_pay`; no broadcasts.

    Raises:
        SparsebenchError: the system does not run generated code.
    """
    order = np.arange(_SWEEPS * TOTALS)
    parts = [x86.clear(np.arange(TOTALS + 1)), x86.address(x86.R10, x86.RCX, 0)]
    multiply = byte_encoding.dot_broadcast if of_bytes else x86.fma_broadcast
    if of_pairs:
        parts.append(x86.pairs_near(order % TOTALS, TOTALS, TOTALS)[:, : x86.SLOT - 1])
    else:
        parts.append(multiply(order % TOTALS, TOTALS, x86.R10, order % 64))
    code = CodeMemory([x86.loop(b"".join(part.tobytes() for part in parts))])
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(code.addresses[0])
    weights, places = np.ones(64, np.float32), np.zeros(_PLACES, PLACE)
    first = places.ctypes.data
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.thread_time_ns()
        run(None, None, None, weights.ctypes.data, first, first + places.nbytes)
        best = min(best, time.thread_time_ns() - start)
    return best / 1e9 / (_PLACES * len(order))


@cache
def pairs_pay() -> bool:
    """Whether an instruction on pairs of bf16 does more in the time than one on float32.

    Zen 4 and Zen 5 run vdpbf16ps at the pace of a multiply-add, Sapphire and Emerald Rapids at a
    quarter of it (0.81 ns to 0.20): there bf16 is for their matrix unit. So it is measured.

    Raises:
        SparsebenchError: the system does not run generated code.
    """
    return peak_seconds(of_pairs=True) < _PAIRS_PAY * peak_seconds()
