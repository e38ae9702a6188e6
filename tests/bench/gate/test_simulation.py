"""The gate cries wolf in at most 5 % of runs and sleeps through at most 10 % of slowdowns.

Whole suites are simulated and judged by the gate's own code: process effects of 2 %, 0.5 % noise
of each iteration, five blocks, a drift of 5 % between blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import sparsebench.bench.statistics.ratios
from sparsebench.bench.gate import Settings
from sparsebench.bench.gate.check import judge
from sparsebench.bench.gate.report import GateReport
from sparsebench.bench.gate.update import baseline_from
from sparsebench.models.errors import SparsebenchError
from tests.bench.gate.test_gate import TWO, slowed
from tests.bench.synthetic import SyntheticRun, make_run

RUNS = 400
ENGINES = ("deepsparse", "torch")


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """The bootstrap only widens an interval; fewer of its draws save most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        few = {"seed": 0, "resamples": 100}
        patch.setattr(sparsebench.bench.statistics.ratios.estimate_ratio, "__kwdefaults__", few)
        yield


def simulated(seed: int) -> SyntheticRun:
    """A suite of four cells with an accuracy each."""
    return make_run(seed=seed, backbones=TWO, engines=ENGINES, workloads=["linear-cached"])


def judged(before: SyntheticRun, now: SyntheticRun) -> GateReport | None:
    """The gate's report; None where it refuses because the intervals are too wide by chance."""
    baseline = baseline_from(before.records, before.trials, "simulated", "before").baseline
    try:
        return judge(now.records, now.trials, baseline, Settings(), "now")
    except SparsebenchError as error:
        assert "No cell of this run could have shown" in str(error)
        return None


@pytest.fixture(scope="module")
def reports() -> dict[float, list[GateReport | None]]:
    """400 pairs of runs without a change, and 400 whose sparse cells became 10 % slower."""
    found: dict[float, list[GateReport | None]] = {}
    for factor in (1.0, 1.1):
        nights = [slowed(simulated(2 * seed + 1), factor, _sparse) for seed in range(RUNS)]
        found[factor] = [judged(simulated(2 * seed), now) for seed, now in enumerate(nights)]
    return found


Reports = dict[float, list[GateReport | None]]


def test_no_change_fails_at_most_five_percent_of_400_runs(reports: Reports) -> None:
    assert sum(bool(r and r.failing) for r in reports[1.0]) <= 0.05 * RUNS


def test_a_slowdown_of_ten_percent_fails_at_least_ninety_percent_of_400_runs(
    reports: Reports,
) -> None:
    assert sum(bool(r and r.failing) for r in reports[1.1]) >= 0.90 * RUNS


def test_the_interval_of_a_change_covers_the_truth(reports: Reports) -> None:
    covered = []
    for factor, found in reports.items():
        for verdict in (v for report in found if report for v in report.verdicts):
            truth = 1 / factor if verdict.kind == "speedup" else 1.0
            assert verdict.change is not None
            covered.append(verdict.change.low <= truth <= verdict.change.high)
    assert len(covered) > 3000
    assert 0.93 <= np.mean(covered) <= 0.97


def _sparse(record: object) -> bool:
    return not record.backbone.is_dense  # type: ignore[attr-defined]
