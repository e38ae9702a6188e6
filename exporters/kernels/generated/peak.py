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


@cache
def peak_seconds(of_bytes: bool = False) -> float:
    """Seconds of one vector multiply-add whose operands are in registers.

    The code runs at the pace of kernels: straight on, each weight an embedded broadcast. The least
    processor time of several calls counts, because others disturb a machine in use.

    Args:
        of_bytes: 64 products of bytes (VNNI) instead of 16 of float32.

    Raises:
        SparsebenchError: the system does not run generated code.
    """
    order = np.arange(_SWEEPS * TOTALS)
    parts = [x86.clear(np.arange(TOTALS + 1)), x86.address(x86.R10, x86.RCX, 0)]
    multiply = byte_encoding.dot_broadcast if of_bytes else x86.fma_broadcast
    parts.append(multiply(order % TOTALS, TOTALS, x86.R10, order % 64))
    code = CodeMemory([x86.loop(np.concatenate(parts).tobytes())])
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 6)(code.addresses[0])
    weights, places = np.ones(64, np.float32), np.zeros(_PLACES, PLACE)
    first = places.ctypes.data
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.thread_time_ns()
        run(None, None, None, weights.ctypes.data, first, first + places.nbytes)
        best = min(best, time.thread_time_ns() - start)
    return best / 1e9 / (_PLACES * len(order))
