"""`sparsebench report`: files, forms, JSON, and what goes wrong."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.plan import Plan, load_plan
from sparsebench.bench.plan.rerun_command import run_words
from tests.bench.conftest import Result
from tests.bench.present.report.conftest import QUICK, reference_rows
from tests.bench.present.report.synthetic_suite import SyntheticSuite, synthetic_suite

Cli = Callable[..., Result]


def small() -> SyntheticSuite:
    return synthetic_suite(
        workloads=("inference",), tasks=("pets",), engines=("deepsparse", "onnxruntime")
    )


def wrong(result: Result, code: int, *words: str) -> None:
    assert result.code == code, (result.out, result.err)
    text = " ".join(result.err.split())
    assert "Traceback" not in text
    for word in words:
        assert word in text


def test_the_form_follows_from_the_name_or_the_option(cli: Cli, tmp_path: Path) -> None:
    run = small().write(tmp_path / "run")
    default = cli("report", run)
    assert default.code == 0 and default.out.strip() == str(run / "report.html")
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert cli("report", run, "--out", tmp_path / "new" / "a.md").code == 0
    assert (tmp_path / "new" / "a.md").read_text().startswith("# Which is fastest")
    assert cli("report", run, "--format", "markdown").code == 0
    assert (run / "report.md").read_text().startswith("# Which is fastest")
    assert cli("report", run, "--out", tmp_path / "b.txt", "--format", "html").code == 0
    wrong(cli("report", run, "--out", tmp_path / "c.txt"), 2, "c.txt", "--format")
    wrong(cli("report", run, "--format", "htlm"), 2, "Did you mean 'html'")


def test_json_has_the_same_facts_and_writes_nothing_unasked(cli: Cli, tmp_path: Path) -> None:
    run = small().write(tmp_path / "run")
    before = sorted(path.name for path in run.iterdir())
    result = cli("report", run, "--json", "--max-accuracy-loss", "1")
    found = json.loads(result.out)
    assert result.code == 0 and found["max_accuracy_loss_points"] == 1
    assert found["answers"][0]["winner"]["name"] == "resnet50/str-95 on deepsparse"
    assert len(found["cells"]) == 10
    assert sorted(path.name for path in run.iterdir()) == before


def test_what_is_no_run_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wrong(cli("report", tmp_path / "empty"), 2, "empty holds no run", "sparsebench run PLAN")
    wrong(cli("report", tmp_path / "nowhere"), 2, "nowhere holds no run")
    run = small().write(tmp_path / "run")
    (run / "records.jsonl").write_text('{"schema": "record.v1"}\n{"schema": "record.v1"}\n')
    wrong(cli("report", run), 2, "records.jsonl, line 1")
    wrong(cli("report", run, "--max-accuracy-loss", "-1"), 2, "--max-accuracy-loss 0.5")
    assert cli("report").code == 2


def test_nothing_measured_is_exit_code_three(cli: Cli, tmp_path: Path) -> None:
    suite = small()
    for number in range(len(suite.records)):
        suite = suite.changed(number, status="failed", reason="No engine.", trials=())
    run = suite.write(tmp_path / "run")
    wrong(cli("report", run), 3, "Nothing was measured", "report.html")
    assert "No engine." in (run / "report.html").read_text()
    (run / "records.jsonl").write_text("")
    wrong(cli("report", run), 3, "has no record yet", "--resume")


def test_a_report_that_cannot_be_written_leaves_the_old_one(cli: Cli, tmp_path: Path) -> None:
    run = small().write(tmp_path / "run")
    (tmp_path / "file").write_text("")
    wrong(cli("report", run, "--out", tmp_path / "file" / "r.html"), 2, "cannot be written")
    target = tmp_path / "old.html"
    target.write_text("old")
    (tmp_path / ".old.html.new").mkdir()  # the new one cannot be put beside it
    wrong(cli("report", run, "--out", target), 2, "old.html cannot be written", "--out")
    assert target.read_text() == "old"


def test_writing_again_leaves_nothing_else_behind(cli: Cli, tmp_path: Path) -> None:
    run = small().write(tmp_path / "run")
    for _ in range(2):
        assert cli("report", run).code == 0
    names = {"records.jsonl", "trials.jsonl", "plan.toml", "report.html"}
    assert {path.name for path in run.iterdir()} == names


def test_a_run_without_a_plan_says_so(cli: Cli, tmp_path: Path) -> None:
    run = small().write(tmp_path / "run", plan=False)
    assert cli("report", run).code == 0
    assert "has no plan.toml" in (run / "report.html").read_text()
    assert json.loads(cli("report", run, "--json").out)["cells"][0]["repeat"] is None


def test_help_has_examples(cli: Cli) -> None:
    result = cli("report", "--help")
    assert result.code == 0 and "sparsebench report runs/laptop runs/server" in result.out


@pytest.mark.parametrize(
    ("task", "option"),
    [("digits", "digits"), ("birds", "/data/birds"), ("birds:50", "/data/birds")],
)
def test_the_task_of_a_command_is_the_plans(tmp_path: Path, task: str, option: str) -> None:
    (tmp_path / "plan.toml").write_text('tasks = ["digits", "/data/birds"]\nlimit = 50\n')
    words = run_words(
        tmp_path,
        workload="full",
        task=task,
        backbone="b/dense",
        engines=[("torch", "fp32")],
        settings={},
    )
    assert words[-2:] == ["--task", option]


def test_a_command_names_the_precision_and_what_the_plan_sweeps(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("batch_size = [1, 64]\nthreads = 2\nsize = 64\n")
    words = run_words(
        tmp_path,
        workload="inference",
        task="digits",
        backbone="b/gmp-90",
        engines=[("deepsparse", "int8"), ("openvino", "int8"), ("torch", "fp32")],
        settings={"batch_size": 1, "threads": 2, "size": 64},
    )
    engines = [word for name, word in pairwise(words) if name == "--engine"]
    assert engines == ["deepsparse:int8", "openvino:int8", "torch"]
    assert words[-2:] == ["--batch-size", "1"] and "--threads" not in words


def test_the_commands_are_ones_that_run_understands(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each measures the cell, its dense baseline and the engine of the best dense cell."""
    found = json.loads(cli("report", QUICK, "--json").out)
    rows = [row for row in reference_rows() if row["workload"] == "inference"]
    best = next(row for row in rows if row["speedup_best_dense"] == "1.0")
    other = next(
        row for row in rows if row["method"] != "dense" and row["engine"] != best["engine"]
    )
    cell = next(cell for cell in found["cells"] if cell["record"] == other["record"])
    planned: list[Plan] = []
    monkeypatch.setattr(
        "sparsebench.bench.cli.dry_run.print_forecast", lambda plan, as_json: planned.append(plan)
    )
    again = cli(*shlex.split(cell["repeat"])[1:], "--dry-run")
    assert again.code == 0, again.err
    cells = {(c.backbone, c.engine, c.workload, c.task) for c in expand(planned[0])}
    assert cells == {
        (backbone, engine, "inference", "digits")
        for backbone in (other["backbone"], best["backbone"])
        for engine in (other["engine"], best["engine"])
    }
    assert planned[0].repeats == load_plan(str(QUICK / "plan.toml")).repeats  # as the run's
