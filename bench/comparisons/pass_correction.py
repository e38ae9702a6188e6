"""What the machine did to all cells of a block alike, pass by pass, taken out of their samples.

A block of ``inference`` goes over its cells several times (passes). On a shared machine a burst of
foreign work slows a second of it, so that the cells it hit look slower than those before and
after. The log time of cell c in pass p is taken as

    log t[c, p] = a[c] + b[p] + noise,      median of b over the passes = 0,

and the passes' common part b is estimated by median polish (Tukey, Exploratory Data Analysis,
1977, chapter 11) and subtracted. The median over a cell's samples then drops what hit it alone. For
two cells their ratio becomes the median of the ratios of their visits. Each cell still has one
location of its own in a block, so that ratios multiply exactly (engine x sparsity = total).

The model asks that every cell feels a busy pass alike. Where one feels it more (a sparse cell that
waits for memory, beside a dense one that computes), what is left after subtracting b still follows
b, with a slope of its own, and leans all blocks to one side: their interval is tight and wrong
(coverage 59 % at 5 blocks with 60 % of passes disturbed and one cell feeling it 1.6 times). So the
slope of every cell on b is estimated over all blocks, and where one is off by more than 10 % and
3.5 standard errors, the cells of that table keep their raw samples, and their comparisons say so.

Raw samples stay in `trials.jsonl`. Measured on two cores of a host with other guests, half width of
the 95 % interval of one speed-up over 5-6 blocks, eleven runs: raw medians 2.2-20.2 %, middle
4.0 %; so 1.4-4.8 %, middle 3.5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsebench.bench.comparisons.alternated_visits import split_visits
from sparsebench.bench.records import VISITS, Trial
from sparsebench.bench.statistics.samples import Samples

ROUNDS = 10
# Below this spread of b, log scale, the machine was quiet, and slopes would be those of noise.
QUIET = 0.03
SLOPE, STANDARD_ERRORS = 0.10, 3.5
Key = tuple[str, int, str, int]


def trial_key(trial: Trial) -> Key:
    """What names a good trial of a run: cell, block, launch and place in it."""
    return trial.cell, trial.block, trial.launch, trial.order


def samples_without_passes(trials: Iterable[Trial]) -> dict[Key, Samples]:
    """Seconds per item without the passes' common part, float64 [calls].

    Args:
        trials: of a run; those of one block are compared with each other.

    Returns:
        `trial_key` -> samples, for good trials that were visited in passes beside others, unless
        their cells feel a busy pass differently.
    """
    blocks = _blocks(trials)
    uneven = _uneven(blocks)
    found: dict[Key, Samples] = {}
    for block in blocks:
        if uneven.isdisjoint(cell for cell, *_ in block.visits):
            for key, visits in block.visits.items():
                parts = [v / b for v, b in zip(visits, np.exp(block.common), strict=True)]
                found[key] = np.concatenate(parts)
    return found


def felt_differently(trials: Iterable[Trial]) -> frozenset[str]:
    """Ids of the cells that keep their raw samples because a busy pass slows them unlike others."""
    return _uneven(_blocks(trials))


@dataclass(frozen=True)
class _Block:
    """The cells of one launch that were visited in the same passes.

    Args:
        visits: `trial_key` -> seconds per item of each visit.
        logs: log of the median of each visit, float64 [cells, passes].
        common: b of the module's text, float64 [passes].
    """

    visits: dict[Key, tuple[Samples, ...]]
    logs: NDArray[np.float64]
    common: NDArray[np.float64]


def _blocks(trials: Iterable[Trial]) -> list[_Block]:
    groups: dict[tuple[str, int, str, int], dict[Key, tuple[Samples, ...]]] = {}
    for trial in trials:
        if trial.status == "ok" and trial.extra.get(VISITS):
            visits = split_visits(trial)
            group = (trial.launch, trial.block, trial.workload, len(visits))
            groups.setdefault(group, {})[trial_key(trial)] = visits
    made = []
    for cells in groups.values():
        if len(cells) > 1:
            seconds = np.array([[np.median(v) for v in one] for one in cells.values()])
            made.append(_Block(cells, np.log(seconds), common_part(seconds)))
    return made


def _uneven(blocks: Sequence[_Block]) -> frozenset[str]:
    """Cells of the tables in which one cell's slope on the common part is not 1."""
    together: dict[frozenset[str], list[_Block]] = {}
    for block in blocks:
        together.setdefault(frozenset(cell for cell, *_ in block.visits), []).append(block)
    return frozenset(
        cell for cells, mine in together.items() if _slopes_differ(mine) for cell in cells
    )


def _slopes_differ(blocks: Sequence[_Block]) -> bool:
    common = np.concatenate([block.common - block.common.mean() for block in blocks])
    if common.std() < QUIET or common.size <= len(blocks) + 2:
        return False
    for cell, *_ in blocks[0].visits:
        rests = []
        for block in blocks:
            row = [key[0] for key in block.visits].index(cell)
            rest = block.logs[row] - block.common
            rests.append(rest - rest.mean())
        rest = np.concatenate(rests)
        power = float(common @ common)
        slope = float(common @ rest) / power
        left = rest - slope * common
        error = math.sqrt(float(left @ left) / (common.size - len(blocks) - 1) / power)
        if abs(slope) > max(SLOPE, STANDARD_ERRORS * error):
            return True
    return False


def common_part(seconds: ArrayLike) -> NDArray[np.float64]:
    """The passes' common part by median polish.

    Args:
        seconds: positive, [cells][passes].

    Returns:
        b of the module's text, log scale, float64 [passes].
    """
    rest = np.log(np.asarray(seconds, dtype=np.float64))
    common = np.zeros(rest.shape[1])
    for _ in range(ROUNDS):
        rest = rest - np.median(rest, axis=1, keepdims=True)
        step = np.median(rest, axis=0)
        rest, common = rest - step, common + step
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(common - np.median(common))
