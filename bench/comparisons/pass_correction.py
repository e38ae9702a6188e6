"""What the machine did to all cells of a block alike, pass by pass, taken out of their samples.

A block of ``inference`` goes over its cells several times (passes). On a shared machine a burst of
foreign work slows a second of it, so that the cells it hit look slower than those before and
after. The log time of cell c in pass p is taken as

    log t[c, p] = a[c] + b[p] + noise,      median of b over the passes = 0,

and the passes' common part b is estimated by median polish (Tukey, Exploratory Data Analysis,
1977, chapter 11) and subtracted. The median over a cell's samples then drops what hit it alone. For
two cells their ratio becomes the median of the ratios of their visits. Each cell still has one
location of its own in a block, so that ratios multiply exactly (engine x sparsity = total).

Raw samples stay in `trials.jsonl`. Measured on two cores of a host with other guests, half width of
the 95 % interval of one speed-up over 5-6 blocks, eleven runs: raw medians 2.2-20.2 %, middle
4.0 %; so 1.4-4.8 %, middle 3.5 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.comparisons.alternated_visits import VISITS, split_visits
from sparsebench.bench.records import Trial
from sparsebench.bench.statistics.ratios import Samples

ROUNDS = 10
Key = tuple[str, int, str, int]


def trial_key(trial: Trial) -> Key:
    """What names a good trial of a run: cell, block, launch and place in it."""
    return trial.cell, trial.block, trial.launch, trial.order


def samples_without_passes(trials: Iterable[Trial]) -> dict[Key, Samples]:
    """Seconds per item without the passes' common part, float64 [calls].

    Args:
        trials: of a run; those of one block are compared with each other.

    Returns:
        `trial_key` -> samples, for good trials that were visited in passes beside others.
    """
    groups: dict[tuple[str, int, str, int], dict[Key, tuple[Samples, ...]]] = {}
    for trial in trials:
        if trial.status == "ok" and trial.extra.get(VISITS):
            visits = split_visits(trial)
            group = (trial.launch, trial.block, trial.workload, len(visits))
            groups.setdefault(group, {})[trial_key(trial)] = visits
    found: dict[Key, Samples] = {}
    for cells in groups.values():
        if len(cells) < 2:
            continue
        common = np.exp(common_part([[np.median(v) for v in one] for one in cells.values()]))
        for key, visits in cells.items():
            found[key] = np.concatenate([v / b for v, b in zip(visits, common, strict=True)])
    return found


def common_part(seconds: Sequence[Sequence[float]]) -> NDArray[np.float64]:
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
