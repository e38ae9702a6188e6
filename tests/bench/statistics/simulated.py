"""Simulated blocks whose true ratio is known, and any blocks at all."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsebench.bench.statistics import BlockPair

times = st.lists(
    st.floats(min_value=1e-4, max_value=1e3, allow_nan=False), min_size=1, max_size=7
).map(lambda values: np.array(values))
blocks = st.lists(st.builds(BlockPair, st.tuples(times), st.tuples(times)), min_size=1, max_size=6)


def simulated(
    rng: np.random.Generator,
    count: int,
    ratio: float = 1.0,
    process: float = 0.02,
    iteration: float = 0.005,
    samples: int = 20,
) -> list[BlockPair]:
    """Blocks whose processes differ by `process` and iterations by `iteration` (relative)."""

    def side(level: float) -> tuple[NDArray[np.float64], ...]:
        log = math.log(level) + rng.normal(0, process) + rng.normal(0, iteration, samples)
        return (np.exp(log),)

    return [BlockPair(side(ratio), side(1.0)) for _ in range(count)]
