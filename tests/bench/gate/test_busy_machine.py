"""Two runs of one commit, one of them under load: the gate cannot tell, and says why first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.comparisons.busy import LOAD, busy
from sparsebench.bench.gate import Settings
from sparsebench.bench.gate.baseline import read_baseline, write_baseline
from sparsebench.bench.gate.check import judge
from sparsebench.bench.gate.report import GateReport
from sparsebench.bench.gate.update import baseline_from
from sparsebench.bench.present.summaries import render_tables, write_summaries
from sparsebench.bench.records import Accuracy
from tests.bench.conftest import Result
from tests.bench.gate.changed import TWO, slowed
from tests.bench.synthetic import SEEDS, SyntheticRun, make_run

Cli = Callable[..., Result]
LOADED = {"cpus": 2, "all_cpus": 2, "load1": 11.8, "own_cpus": 0.5, "foreign_cpus": 1.5}
QUIET, AGAIN = (
    make_run(seed=seed, backbones=TWO, workloads=["linear-cached"], process=0.004, iteration=0.002)
    for seed in (1, 2)
)


def loaded(run: SyntheticRun) -> SyntheticRun:
    records = [replace(record, extra={LOAD: LOADED}) for record in run.records]
    return SyntheticRun(records, run.trials)


def checked(before: SyntheticRun, now: SyntheticRun) -> GateReport:
    baseline = baseline_from(before.records, before.trials, "a test", "before").baseline
    return judge(now.records, now.trials, baseline, Settings(), "now")


def test_quiet_runs_are_judged() -> None:
    assert checked(QUIET, AGAIN).exit_code == 0
    assert checked(QUIET, slowed(AGAIN, 1.5, lambda record: not record.backbone.is_dense)).failing


@pytest.mark.parametrize("which", ["run", "baseline"])
def test_a_busy_machine_on_either_side_lets_no_ratio_be_judged(which: str) -> None:
    slow = slowed(AGAIN, 1.5, lambda record: not record.backbone.is_dense)
    report = checked(QUIET, loaded(slow)) if which == "run" else checked(loaded(QUIET), slow)
    assert report.exit_code == 4 and not report.failing
    assert {verdict.status for verdict in report.verdicts} == {"blind"}
    (sentence,) = report.settings.busy
    assert sentence.startswith(f"The {which}: Busy machine: a load of 11.8 on 2 CPUs")


def test_an_accuracy_that_fell_fails_under_load_too() -> None:
    worse = Accuracy.of("top1", [0.5, 0.51, 0.52], SEEDS)
    record = AGAIN.record("linear-cached", TWO[1], "torch")
    report = checked(QUIET, loaded(AGAIN.replaced(record, accuracy=worse)))
    assert report.exit_code == 1 and len(report.failing) == 1


def test_check_and_update_say_it_first(tmp_path: Path, cli: Cli) -> None:
    run, baseline = tmp_path / "R", tmp_path / "b.toml"
    loaded(QUIET).write(run)
    made = cli("baseline", "update", run, "--out", baseline, "--reason", "a test")
    assert "Busy machine: a load of 11.8" in made.out
    found = cli("check", run, "--baseline", baseline)
    assert found.code == 4
    assert found.out.startswith("The run: Busy machine")
    assert "inconclusive in 6 of 6 cells" in found.out
    stored = read_baseline(baseline)
    write_baseline(tmp_path / "again.toml", stored)
    assert read_baseline(tmp_path / "again.toml") == stored


def test_the_tables_the_summary_and_the_report_say_it_first(tmp_path: Path, cli: Cli) -> None:
    folder = loaded(QUIET).write(tmp_path / "R")
    found = busy(folder.records(), folder.trials())
    assert found is not None
    first, *_ = render_tables(folder)
    assert str(first) == found.sentence
    write_summaries(folder)
    title, _, line, *_ = (tmp_path / "R" / "summary.md").read_text().splitlines()
    assert title.startswith("# ") and line == f"**{found.sentence}**"
    assert all(comparison.busy == found.sentence for comparison in folder.comparisons())
    assert cli("report", tmp_path / "R", "--out", tmp_path / "R.md").code == 0
    assert found.sentence.split(";")[0] in (tmp_path / "R.md").read_text()
    assert cli("report", tmp_path / "R", "--out", tmp_path / "R.html").code == 0
    assert found.sentence.split(";")[0] in (tmp_path / "R.html").read_text()
