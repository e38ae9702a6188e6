"""Aggregates over tasks: closed forms, and what may not enter them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.present.summaries import write_summaries
from sparsebench.bench.present.tables.over_tasks import over_tasks
from sparsebench.bench.statistics import performance_profiles
from tests.bench.synthetic import SyntheticRun, make_run

TASKS = ("digits", "flowers", "textures")


def three_tasks() -> SyntheticRun:
    """The same cells on three tasks."""
    records, trials = [], []
    for number, task in enumerate(TASKS):
        run = make_run(seed=number, blocks=3, engines=["deepsparse", "torch"])
        for record in run.records:
            changed = replace(record.task, name=task)
            records.append(replace(record, id=f"{record.id}-{number}", task=changed))
        trials += [replace(trial, cell=f"{trial.cell}-{number}") for trial in run.trials]
    return SyntheticRun(records, trials)


def test_profiles_of_the_definition() -> None:
    """Three solvers on four tasks, counted by hand."""
    seconds: dict[str, dict[str, float | None]] = {
        "a": {"t1": 1.0, "t2": 2.0, "t3": 3.0, "t4": 8.0},
        "b": {"t1": 2.0, "t2": 1.0, "t3": 6.0, "t4": 4.0},
        "c": {"t1": 1.5, "t2": 4.0, "t3": None, "t4": 4.0},
    }
    found = {profile.name: profile for profile in performance_profiles(seconds)}
    assert [found[name].within(1) for name in "abc"] == [0.5, 0.5, 0.25]
    assert [found[name].within(2) for name in "abc"] == [1.0, 1.0, 0.5]
    assert found["c"].within(1e9) == 0.75  # a failure never comes back


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=9))
def test_somebody_wins_every_task_and_profiles_never_fall(pairs: list[tuple[float, float]]) -> None:
    seconds: dict[str, dict[str, float | None]] = {
        name: {str(i): pair[side] for i, pair in enumerate(pairs)}
        for side, name in enumerate(("a", "b"))
    }
    profiles = performance_profiles(seconds)
    assert sum(profile.within(1) for profile in profiles) >= 1 - 1e-9
    for profile in profiles:
        shares = [profile.within(factor) for factor in (1, 1.5, 2, 10, 1e9)]
        assert shares == sorted(shares)
        assert shares[-1] == 1


def test_times_that_are_none_are_refused() -> None:
    for seconds in ({}, {"a": {"t": 0.0}}):
        with pytest.raises(ValueError, match="task|positive"):
            performance_profiles(seconds)


def test_means_over_tasks_are_geometric_and_leave_generated_weights_out() -> None:
    run = three_tasks()
    comparisons = compare_run(run.records, run.trials)
    (inference, _) = over_tasks(run.records, run.trials, comparisons)
    assert inference.tasks == TASKS
    speedup, _ = inference.means["resnet18/acdc-90", "deepsparse"]
    cells = {
        r.id
        for r in run.records
        if (r.workload, r.backbone.name, r.engine.name)
        == ("inference", "resnet18/acdc-90", "deepsparse")
    }
    ratios = [c.speedup.median for c in comparisons if c.sparse in cells and c.speedup]
    assert len(ratios) == 3
    assert speedup.median == pytest.approx(stats.gmean(ratios))
    interval = stats.ttest_1samp(np.log(ratios), 0).confidence_interval(0.95)
    assert speedup.ci95 == pytest.approx((np.exp(interval.low), np.exp(interval.high)))
    assert not any("generated" in backbone for backbone, _ in inference.means)
    assert inference.profiles[0].name == "resnet18/acdc-90 on deepsparse"


def test_the_summary_has_them_with_several_tasks_only(tmp_path: Path) -> None:
    several = three_tasks().write(tmp_path / "several")
    write_summaries(several)
    text = (several.path / "summary.md").read_text()
    assert "## inference over 3 tasks" in text
    assert "| resnet18/acdc-90 on deepsparse | 100% |" in text
    run = make_run(blocks=2, engines=["torch"])
    assert over_tasks(run.records, run.trials, []) == []


def test_cells_that_differ_in_precision_or_batch_size_are_kept_apart() -> None:
    run = three_tasks()
    records, trials = list(run.records), list(run.trials)
    for precision, batch_size in (("bf16", 64), ("fp32", 16)):
        for record in run.records:
            if record.engine.name == "torch":
                engine = replace(record.engine, precision=precision, batch_size=batch_size)
                ident = f"{record.id}-{precision}-{batch_size}"
                records.append(replace(record, id=ident, engine=engine))
                own = [trial for trial in run.trials if trial.cell == record.id]
                trials += [replace(trial, cell=ident) for trial in own]
    (inference, _) = over_tasks(records, trials, compare_run(records, trials))
    named = {profile.name for profile in inference.profiles if "/dense" in profile.name}
    assert named == {
        "resnet18/dense on deepsparse fp32 batch 64",
        "resnet18/dense on torch fp32 batch 64",
        "resnet18/dense on torch bf16 batch 64",
        "resnet18/dense on torch fp32 batch 16",
    }
    engines = {engine for backbone, engine in inference.means if backbone == "resnet18/acdc-90"}
    assert engines == {name.rpartition(" on ")[2] for name in named}
    for means in inference.means.values():
        assert all(estimate.blocks == len(TASKS) for estimate in means)
