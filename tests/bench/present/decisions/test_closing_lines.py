"""Which variant to take, below the tables of a run."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from sparsebench.bench.decide import Limits, RunData
from sparsebench.bench.present.decisions import closing_lines
from sparsebench.bench.present.tables import sections, terminal_tables
from tests.bench.synthetic import SyntheticRun, make_run


def lines_of(run: SyntheticRun, limit: float = 0.5) -> dict[str, str]:
    """Question -> its answer; without the title."""
    lines = closing_lines(RunData.of("run", run.records, run.trials), Limits(limit))
    return dict(line.split(": ", 1) for line in lines[1:])


def test_each_workload_gets_its_answer() -> None:
    """ACDC is 4x on DeepSparse, whose dense takes 1.1 of the best; it loses 0.7 points."""
    run = make_run(blocks=6)
    found = lines_of(run, 3.0)
    assert set(found) == {"inference on digits", "linear-cached on digits"}
    line = found["inference on digits"]
    assert line.startswith("resnet18/acdc-90 on deepsparse: significantly better, 3.6")
    assert "the speed of the best dense, resnet18/dense on onnxruntime" in line
    assert "at most 3 points" in line
    line = lines_of(run)["inference on digits"]
    assert line.startswith("Not shown: the likeliest is resnet18/acdc-90 on deepsparse")
    assert "about 5 seeds (--seed; 3 now). Until then: resnet18/dense on onnxruntime." in line


def test_random_weights_do_not_compete() -> None:
    found = lines_of(make_run(blocks=4, engines=["torch"]))
    assert not any("erk-90" in line for line in found.values())
    assert not lines_of(make_run(blocks=4, backbones=["resnet18/dense"]))


def test_one_block_shows_nothing() -> None:
    run = make_run(
        blocks=1, engines=["deepsparse"], backbones=["resnet18/dense", "resnet18/acdc-90"]
    )
    run = SyntheticRun(
        [replace(r, accuracy=r.accuracy and replace(r.accuracy, per_seed=(0.9,) * 3, mean=0.9))
         for r in run.records], run.trials,
    )  # fmt: skip
    line = lines_of(run)["inference on digits"]
    assert line.startswith("Not shown") and "blocks (--repeats; 1 now)" in line
    assert "Until then" not in line  # a dense cell without an interval wins nothing either


def test_over_two_tasks_one_answer_is_for_both() -> None:
    one, two = make_run(blocks=3, seed=1), make_run(blocks=3, seed=2)
    other = [
        replace(record, id=f"b{record.id}", task=replace(record.task, name="flowers"))
        for record in two.records
    ]
    trials = [replace(trial, cell=f"b{trial.cell}") for trial in two.trials]
    found = lines_of(replace(one, records=[*one.records, *other], trials=[*one.trials, *trials]))
    assert set(found) == {"inference on 2 tasks", "linear-cached on 2 tasks"}


def test_the_terminal_ends_with_it() -> None:
    run = make_run(blocks=3)
    data = RunData.of("run", run.records, run.trials)
    tables = sections(run.records, run.trials, data.comparisons)
    console = Console(width=200)
    with console.capture() as captured:
        for part in terminal_tables(tables, run.records, closing_lines(data)):
            console.print(part)
    assert "Which to take" in captured.get()
