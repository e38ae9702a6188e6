from __future__ import annotations

import subprocess
import sys

import pytest

MIB = 2**20
CODE = """
import numpy as np
from sparsebench.bench.training.memory import peak_memory, restart_peak
before = np.ones(300 * 2**20, np.uint8)
first = peak_memory("cpu")["peak_memory_bytes"]
del before
restart_peak("cpu")
small = np.ones(50 * 2**20, np.uint8)
print(first, peak_memory("cpu")["peak_memory_bytes"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can restart the peak")
def test_the_peak_leaves_out_what_was_freed_before_it_was_restarted() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert first >= 300 * MIB
    assert 50 * MIB <= second <= first - 200 * MIB
