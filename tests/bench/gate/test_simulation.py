"""The gate cries wolf in at most 5 % of runs and sleeps through at most 10 % of slowdowns.

Whole suites are simulated and judged by the gate's own code: process effects of 2 %, 0.5 % noise
of each iteration, five blocks, a drift of 5 % between blocks.
"""

from __future__ import annotations

import numpy as np
import pytest

import bench.statistics.ratios
from bench.gate import Settings
from bench.gate.check import GateReport, judge
from bench.gate.update import baseline_from
from models.errors import SparsebenchError
from tests.bench.gate.test_gate import TWO, slowed
from tests.bench.synthetic import SyntheticRun, make_run

RUNS = 400
ENGINES = ("deepsparse", "torch")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootstrap only widens an interval; a tenth of its draws saves most of the time."""
    monkeypatch.setattr(bench.statistics.ratios.estimate_ratio, "__kwdefaults__", KEYWORDS)


KEYWORDS = {"seed": 0, "resamples": 100}


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


def share_failing(factor: float) -> float:
    failing = 0
    for seed in range(RUNS):
        now = simulated(2 * seed + 1)
        if factor != 1:
            now = slowed(now, factor, lambda r: not r.backbone.is_dense)
        report = judged(simulated(2 * seed), now)
        failing += bool(report and report.failing)
    return failing / RUNS


def test_no_change_fails_at_most_five_percent_of_400_runs() -> None:
    assert share_failing(1.0) <= 0.05


def test_a_slowdown_of_ten_percent_fails_at_least_ninety_percent_of_400_runs() -> None:
    assert share_failing(1.1) >= 0.90


def test_the_interval_of_a_change_covers_the_truth() -> None:
    covered = []
    for seed in range(RUNS):
        report = judged(simulated(2 * seed), slowed(simulated(2 * seed + 1), 1.1, _sparse))
        for verdict in report.verdicts if report else ():
            truth = 1 / 1.1 if verdict.kind == "speedup" else 1.0
            assert verdict.change is not None
            covered.append(verdict.change.low <= truth <= verdict.change.high)
    # 93-97 %, with two standard errors of 800 independent intervals on either side
    assert 0.93 - 0.015 <= np.mean(covered) <= 0.97 + 0.015


def _sparse(record: object) -> bool:
    return not record.backbone.is_dense  # type: ignore[attr-defined]
