"""``--processes`` in plans, on the command line, in records and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.validation import check
from sparsebench.bench.present.tables import sections
from sparsebench.bench.present.tables.communication import communication_table
from sparsebench.bench.run.build_records import _settings
from sparsebench.bench.workloads.full import Full, FullSettings, job_of
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from tests.bench.synthetic import make_run

TOLD = {
    "processes": 2,
    "backend": "gloo",
    "batch_norm": "global",
    "statistics_bytes_per_step": 76960,
    "gradient_bytes_per_step": 4_400_820,
    "whole_gradient_bytes": 44_726_568,
    "allreduce_seconds": 0.004,
    "whole_allreduce_seconds": 0.05,
}


def plan(**section: Any) -> Plan:
    return Plan(
        backbones=("resnet18/dense",), engines=("torch",), workloads=("full",), threads=2
    ).with_changes(sections={"full": section})


@pytest.mark.parametrize(
    ("options", "wanted"), [((), 2), (("--processes", "1"), 1), (("--set", "full.processes=1"), 1)]
)
def test_the_option_wins_over_the_plan(
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[str, ...],
    wanted: int,
) -> None:
    file, seen = tmp_path / "mine.toml", list[Plan]()
    file.write_text('backbones = ["resnet18/dense"]\nworkloads = ["full"]\n[full]\nprocesses = 2\n')

    def check(chosen: Plan) -> None:
        seen.append(chosen)
        raise SparsebenchError("enough")

    monkeypatch.setattr("sparsebench.bench.plan.validation.check", check)
    assert cli("run", file, *options).code == 2
    assert seen[0].section("full", FullSettings).processes == wanted


def test_a_plan_that_trains_nothing_has_no_use_for_processes(cli: Callable[..., Any]) -> None:
    answer = cli("run", "quick", "--workload", "inference", "--processes", 2)
    assert answer.code == 2 and "--workload full" in answer.err


def test_more_processes_than_threads_or_images_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(SparsebenchError, match="3 processes cannot share 2 threads"):
        check(plan(processes=3))
    with pytest.raises(SparsebenchError, match="2 processes cannot share 1 images"):
        check(plan(processes=2).with_changes(batch_size=1))
    check(plan(processes=2))
    for value, error in ((0, SparsebenchError), (1.5, SparsebenchError)):
        with pytest.raises(error, match="processes"):
            plan(processes=value)
    with pytest.raises(UnknownNameError, match="batch_norm"):
        plan(batch_norm="none")


def test_one_process_is_the_cell_of_older_runs_and_two_are_another() -> None:
    (one,), (same,), (two,) = (expand(plan(**s)) for s in ({}, {"processes": 1}, {"processes": 2}))
    assert one.id == same.id != two.id
    assert "processes" not in _settings(plan(), one)
    told = _settings(plan(processes=2), two)
    assert told["processes"] == 2 and told["batch_norm"] == "global"


def test_threads_are_shared_and_other_engines_refused() -> None:
    chosen = plan(processes=2)
    (cell,) = expand(chosen)
    card = SimpleNamespace(backbone=None, preprocessing=cell.card.preprocessing)
    ready: Any = SimpleNamespace(cell=cell, prepared=card)
    context: Any = SimpleNamespace(plan=chosen, block=0, earlier=lambda cell: [])
    job = job_of(ready, context)
    assert (job.processes, job.threads, job.batch_norm) == (2, 1, "global")
    (native,) = expand(chosen.with_changes(engines=("native",)))
    with pytest.raises(SparsebenchError, match="native trains in one process, not in 2"):
        job_of(cast(Any, SimpleNamespace(cell=native, prepared=card)), context)


def test_the_table_says_what_travelled() -> None:
    trials: Any = [
        SimpleNamespace(extra={"communication": {**TOLD, "allreduce_seconds": seconds}})
        for seconds in (0.003, 0.004, 0.009)
    ]
    facts = Full.facts(plan(), [*trials, cast(Any, SimpleNamespace(extra={}))])
    assert facts == {"communication": TOLD}
    assert Full.facts(plan(), [cast(Any, SimpleNamespace(extra={}))]) == {}

    run = make_run(
        blocks=3,
        backbones=("resnet18/dense", "resnet18/acdc-90"),
        engines=["torch"],
        workloads=["inference"],
        process=0.0,
    )
    records = [
        replace(record, extra={**record.extra, **(facts if not record.backbone.is_dense else {})})
        for record in run.records
    ]
    (section,) = sections(records, run.trials, compare_run(records, run.trials))
    table = communication_table(section)
    assert table is not None
    (cells,) = [tuple(entry.text for entry in line.entries) for line in table.lines]
    assert cells[:6] == ("resnet18/acdc-90", "torch", "2 gloo", "4.4 MB", "44.7 MB", "4")
    (plain,) = sections(run.records, run.trials, compare_run(run.records, run.trials))
    assert communication_table(plain) is None
