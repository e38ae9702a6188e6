"""What was predicted stands beside what was measured: in summary.md and in every form of report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.report.contents import more_tables
from sparsebench.bench.present.report.markdown import markdown_page
from sparsebench.bench.present.report.page import html_page
from sparsebench.bench.present.summaries import write_summaries
from tests.bench.conftest import Result
from tests.bench.synthetic import SyntheticRun, make_run

TITLE = "Forecast and measurement"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, torch in fp32 and bf16; a launch of 100 s and one of 50 s."""
    path = tmp_path_factory.mktemp("forecast") / "run"
    records, trials = [], []
    for number, task in enumerate(("pets", "cars")):
        made = make_run(seed=number, blocks=2, engines=["torch"], workloads=["linear-cached"])
        for precision in ("fp32", "bf16"):
            for record in made.records:
                ident = f"{record.id}-{number}-{precision}"
                extra = {"predicted_seconds": 2.0, "predicted_whole_seconds": 7.5}
                records.append(
                    replace(
                        record, id=ident, task=replace(record.task, name=task),
                        engine=replace(record.engine, precision=precision),
                        extra={**record.extra, **extra, "prediction_basis": "scaled"},
                    )
                )  # fmt: skip
                own = [trial for trial in made.trials if trial.cell == record.id]
                trials += [replace(trial, cell=ident) for trial in own]
    written = SyntheticRun(records, trials).write(path)
    lines = [
        {"launch": name, "block": 0, "before": {"at": 10.0}, "after": {"at": 10.0 + seconds},
         "disturbed": None, "discarded": False}
        for name, seconds in (("a", 100.0), ("b", 50.0))
    ]  # fmt: skip
    (path / "blocks.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write_summaries(written)
    return path


def test_cells_of_two_tasks_and_precisions_are_told_apart(folder: Path) -> None:
    rows = [
        line for line in (folder / "summary.md").read_text().splitlines()
        if line.startswith("| linear-cached |") and line.endswith("| scaled |")
    ]  # fmt: skip
    named = {tuple(cell.strip() for cell in row.split("|")[1:5]) for row in rows}
    assert len(rows) == len(named) == 16
    assert ("linear-cached", "cars", "resnet18/acdc-90", "torch bf16") in named


def test_every_form_of_the_report_has_it(folder: Path, cli: Callable[..., Result]) -> None:
    report = build_report([folder])
    (grid,) = [one for one in more_tables(report) if one.title == TITLE]
    measured = {line.entries[5].sort for line in grid.lines}
    assert len(grid.lines) == 16 and all(isinstance(s, float) and s > 0 for s in measured)
    # 16 cells of 7.5 s were predicted; the launches took 150 s.
    sentence = "The whole run: 120 s predicted, 150 s measured (0.80)."
    for text in (
        markdown_page(report), html_page(report), (folder / "summary.md").read_text(),
    ):  # fmt: skip
        assert "Forecast and measurement" in text and sentence in text
    told = json.loads(cli("report", folder, "--json").out)
    assert told["runs"][0]["forecast"] == {"predicted_seconds": 120.0, "measured_seconds": 150.0}
    assert told["cells"][0]["forecast"]["predicted_seconds"] == 2.0
    assert told["cells"][0]["forecast"]["measured_seconds"] > 0


def test_a_run_without_forecast_or_clock_says_nothing_of_it(tmp_path: Path) -> None:
    made = make_run(blocks=2, engines=["torch"], workloads=["linear-cached"])
    report = build_report([made.write(tmp_path / "run").path])
    assert TITLE not in {table.title for table in more_tables(report)}
    assert report.to_json()["runs"][0]["forecast"]["predicted_seconds"] is None
