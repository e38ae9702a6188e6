"""Two clocks: the ratio by process time beside that by wall time; where they differ, it is said."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.comparisons.clocks import disagree
from sparsebench.bench.records import VISITS, Comparison, Trial
from sparsebench.bench.statistics import RatioEstimate
from tests.bench.synthetic import SyntheticRun, make_run

RUN = make_run(blocks=5, backbones=["resnet18/dense", "resnet18/acdc-90"], engines=["deepsparse"])
SPARSE, DENSE = "resnet18/acdc-90", "resnet18/dense"


def clocked(sparse: float, dense: float) -> SyntheticRun:
    """`RUN` with process times: wall times of two threads without what a busy machine adds.

    Args:
        sparse: by what factor waiting lengthens the sparse cells' wall times.
        dense: the dense cells' one.
    """
    names = {record.id: record.backbone.name for record in RUN.records}

    def one(trial: Trial) -> Trial:
        wall = np.asarray(trial.seconds)
        visits = [10, 10, 10] if trial.workload == "inference" else [1]
        spent = [2 * part.sum() for part in np.split(wall, np.cumsum(visits)[:-1])]
        slower = sparse if names[trial.cell] == SPARSE else dense
        return replace(
            trial,
            seconds=tuple(wall * slower),
            process_seconds=tuple(spent),
            extra={VISITS: visits} if trial.workload == "inference" else {},
        )

    return SyntheticRun(RUN.records, [one(trial) for trial in RUN.trials])


def compared(run: SyntheticRun) -> Comparison:
    sparse = run.record("inference", SPARSE, "deepsparse").id
    (found,) = [c for c in compare_run(run.records, run.trials) if c.sparse == sparse]
    return found


def test_on_a_quiet_machine_both_clocks_agree_and_nothing_is_said() -> None:
    found = compared(clocked(1.0, 1.0))
    assert found.process_speedup is not None and found.speedup is not None
    assert found.process_speedup.median == pytest.approx(found.speedup.median, rel=0.01)
    assert not [note for note in found.notes if "process time" in note]


def test_a_load_that_one_side_feels_more_changes_wall_time_only_and_is_said() -> None:
    found, quiet = compared(clocked(1.8, 1.1)), compared(clocked(1.0, 1.0))
    assert found.process_speedup == quiet.process_speedup
    assert found.speedup and quiet.speedup and found.process_speedup
    assert found.speedup.median == pytest.approx(quiet.speedup.median * 1.1 / 1.8, rel=1e-6)
    (note,) = [note for note in found.notes if "process time" in note]
    assert f"{found.process_speedup.median:.2f}×" in note


def test_an_older_run_has_one_clock_only() -> None:
    sparse = RUN.record("inference", SPARSE, "deepsparse").id
    (found,) = [c for c in compare_run(RUN.records, RUN.trials) if c.sparse == sparse]
    assert found.process_speedup is None and found.busy is None
    line = {k: v for k, v in found.to_json().items() if k not in ("process_speedup", "busy")}
    assert Comparison.from_json(line) == found


def test_cells_that_sleep_have_no_ratio_of_process_times() -> None:
    run = clocked(10.0, 10.0)  # two threads that compute a tenth of the time: 0.2 of the wall
    assert compared(run).process_speedup is None


def estimate(median: float, width: float) -> RatioEstimate:
    return RatioEstimate(median, median / (1 + width), median * (1 + width), 5, 0.1)


@pytest.mark.parametrize(
    ("wall", "process", "differ"),
    [
        (estimate(2.0, 0.05), estimate(2.05, 0.05), False),
        (estimate(2.0, 0.01), estimate(2.05, 0.01), True),  # exclusive intervals
        (estimate(2.0, 0.5), estimate(2.3, 0.5), True),  # over 10 % apart
        (RatioEstimate(2.0, 0.0, math.inf, 1, math.inf), estimate(2.1, 0.01), False),
    ],
)
def test_what_counts_as_disagreement(
    wall: RatioEstimate, process: RatioEstimate, differ: bool
) -> None:
    assert disagree(wall, process) is disagree(process, wall) is differ
