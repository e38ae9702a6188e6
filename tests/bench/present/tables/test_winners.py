"""Which backbone wins a workload, on time and on accuracy."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.present.tables import sections, summary_markdown
from sparsebench.bench.present.tables.winners import winner_lines
from tests.bench.synthetic import SyntheticRun, make_run


def lines_of(run: SyntheticRun) -> dict[str, str]:
    """Start of each line -> the rest."""
    comparisons = compare_run(run.records, run.trials)
    lines = winner_lines(sections(run.records, run.trials, comparisons))
    return {" ".join(line.split(" ")[:3]): line for line in lines}


def test_the_fastest_and_the_most_accurate_are_named_for_each_workload() -> None:
    """ACDC is 4x on DeepSparse, whose dense takes 1.1 of the best; dense is 0.7 points better."""
    found = lines_of(make_run(blocks=6))
    assert set(found) == {
        "inference: on time,", "inference: on accuracy,",
        "linear-cached: on time,", "linear-cached: on accuracy,",
    }  # fmt: skip
    assert "acdc-90 on deepsparse wins: 3.6" in found["inference: on time,"]
    assert "of the best dense." in found["inference: on time,"]
    change = found["linear-cached: on accuracy,"]
    assert "no sparse network is more accurate than dense" in change
    assert "the nearest is acdc-90, \N{MINUS SIGN}0." in change


def test_random_weights_do_not_compete() -> None:
    found = lines_of(make_run(blocks=4, engines=["torch"]))
    assert not any("erk-90" in line for line in found.values())
    only = make_run(blocks=4, backbones=["resnet18/dense"])
    assert not lines_of(only)


def test_what_a_run_cannot_set_apart_is_named_with_the_winner() -> None:
    """On torch every sparse network is as fast as the dense one."""
    line = lines_of(make_run(blocks=4, engines=["torch"], seed=3))["inference: on time,"]
    assert "not set apart from" in line or "no sparse network is faster" in line
    single = lines_of(make_run(blocks=1, engines=["deepsparse"]))["inference: on time,"]
    assert "without an interval nothing is set apart" in single


def test_over_two_tasks_the_means_win_and_each_task_is_told() -> None:
    one, two = make_run(blocks=3, seed=1), make_run(blocks=3, seed=2)
    other = tuple(
        replace(record, id=f"b{record.id}", task=replace(record.task, name="flowers"))
        for record in two.records
    )
    run = replace(
        one,
        records=[*one.records, *other],
        trials=[*one.trials, *(replace(trial, cell=f"b{trial.cell}") for trial in two.trials)],
    )
    found = lines_of(run)
    assert len(found) == 4
    task = one.records[0].task.name
    line = found["inference: on time,"]
    assert f"({task} 3." in line and "flowers 3." in line


def test_the_summary_says_who_wins() -> None:
    run = make_run(blocks=3)
    tables = sections(run.records, run.trials, compare_run(run.records, run.trials))
    text = summary_markdown("run", tables, run.records)
    assert "## Who wins" in text and "- inference: on time, acdc-90 on deepsparse" in text
