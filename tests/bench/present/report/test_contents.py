"""Tables of runs that train step by step, and of several tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.report.contents import more_tables
from sparsebench.bench.present.report.page import html_page
from sparsebench.bench.present.report.problems import problems_of
from sparsebench.bench.present.report.runs import load_runs
from tests.bench.present.report.synthetic_suite import synthetic_suite


def test_time_to_the_target_stands_beside_the_accuracy_change(tmp_path: Path) -> None:
    """Sparse reaches the target (79 %) after one epoch of 10 s, dense after two."""
    suite = synthetic_suite(
        workloads=("full",), tasks=("pets",), engines=("torch",), sparse={"gmp-80": (1.0, -0.1)}
    )
    ends = {"dense": [0.5, 0.80], "gmp": [0.80, 0.80]}
    records = tuple(
        replace(
            record,
            settings={**record.settings, "target_margin": 1.0},
            extra={
                **record.extra,
                "curves": {
                    str(seed): [
                        [10.0 * (epoch + 1), 1.0, value]
                        for epoch, value in enumerate(ends[record.backbone.method])
                    ]
                    for seed in range(5)
                },
            },
        )
        for record in suite.records
    )
    report = build_report([replace(suite, records=records).write(tmp_path / "run")])
    (grid,) = [one for one in more_tables(report) if one.title == "training: full on pets"]
    rows = {line.entries[0].text: [entry.text for entry in line.entries] for line in grid.lines}
    assert rows["resnet50/gmp-80"][3] == "10" and rows["resnet50/dense"][3] == "20"
    assert rows["resnet50/gmp-80"][5] == "2.00×"
    assert not grid.lines[1].entries[5].spread
    assert "of medians over seeds and without an interval" in grid.notes[0]
    assert grid.columns[-1].title == "accuracy change (pp)"
    assert rows["resnet50/gmp-80"][-1] == "−0.1" and rows["resnet50/dense"][-1] == "baseline"
    assert "training: full on pets" in html_page(report)


def test_means_over_tasks_name_the_worst_accuracy_change(tmp_path: Path) -> None:
    suite = synthetic_suite(workloads=("inference",), tasks=("cars", "pets"))
    grid, *_ = more_tables(build_report([suite.write(tmp_path / "run")]))
    row = next(
        line.entries for line in grid.lines
        if [entry.text for entry in line.entries[:2]] == ["resnet50/acdc-90", "deepsparse"]
    )  # fmt: skip
    assert float(str(row[2].sort)) == pytest.approx(3.0, rel=0.005)
    assert float(str(row[3].sort)) == pytest.approx(2.4, rel=0.005)
    assert row[4].text == "−0.3" and row[5].text in ("cars", "pets")


def test_a_disturbed_block_is_told_by_the_records_where_its_note_is_gone(tmp_path: Path) -> None:
    """Seen: the report of a run without its `blocks.jsonl` said that nothing was disturbed."""
    suite = synthetic_suite(workloads=("inference",), tasks=("pets",))
    kept = next(one for one in suite.records[0].trials if one.block == 1)
    told = {kept.launch: "the memory kernel took longer", "elsewhere": "discarded"}
    records = tuple(
        replace(record, extra={**record.extra, "disturbed_launches": told})
        for record in suite.records
    )
    (run,) = load_runs([replace(suite, records=records).write(tmp_path / "run")])
    (problem,) = problems_of(run)
    assert (problem.fate, problem.what) == ("disturbed, kept", "block 1")
    assert problem.reason == "the memory kernel took longer"
