"""Every surface gives the same answers to the same questions, on every reference run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

import sparsebench.results as results
from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.decide import Limits, Request, RunData, advise
from sparsebench.bench.present.decisions import closing_lines
from sparsebench.bench.present.decisions.advice_text import advice_text
from sparsebench.bench.present.decisions.answer_json import advice_json
from sparsebench.bench.present.report import Report, build_report
from sparsebench.bench.present.report.markdown import markdown_page
from sparsebench.bench.present.report.page import html_page
from sparsebench.bench.records import Record, RunFolder
from sparsebench.models.errors import NothingMeasuredError
from tests.bench.conftest import Result

REFERENCE = Path(results.__path__[0]) / "reference"
RUNS = sorted(path.parent for path in REFERENCE.glob("*/*/records.jsonl"))
NAMES = [str(run.relative_to(REFERENCE)) for run in RUNS]
LIMITS = (0.0, 0.5, 2.0)
Answers = dict[tuple[str, tuple[str, ...]], dict[str, Any]]
SAME = ("kind", "answer", "remarks", "take", "best_dense", "runner_up", "open", "to_show")


@cache
def data(run: Path) -> RunData:
    folder = RunFolder.reading(run)
    return RunData.of(run.name, folder.records(), folder.trials())


@cache
def report(run: Path, production: bool) -> Report:
    return build_report([run], production=production)


def by_question(answers: list[dict[str, Any]]) -> Answers:
    return {
        (one["workload"], tuple(one["tasks"])): {key: one[key] for key in SAME}
        for one in answers
        if one["kind"] not in ("unmeasured", "none")
    }


def advised(run: Path, limit: float, production: bool, batch_size: int | None = None) -> Any:
    request = Request(Limits(limit, production=production), batch_size=batch_size)
    return advise([data(run)], request)


def words(text: str) -> str:
    return " ".join(text.split())


class Headlines(HTMLParser):
    """The text of each line that the page opens with, for each margin."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.margin, self.inside, self.found = "", False, {}  # type: ignore[var-annotated]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.margin = dict(attrs).get("data-margin") or self.margin
        if tag == "ul":
            self.inside = dict(attrs).get("class") == "headlines"
        if tag == "li" and self.inside:
            self.found.setdefault(self.margin, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "ul"

    def handle_data(self, text: str) -> None:
        if self.inside and self.found.get(self.margin):
            self.found[self.margin][-1] += text


@pytest.mark.parametrize("production", [False, True], ids=["any", "production"])
@pytest.mark.parametrize("run", RUNS, ids=NAMES)
def test_every_surface_says_the_same(run: Path, production: bool) -> None:
    page = Headlines(html_page(report(run, production))) if not production else None
    for limit in LIMITS:
        told = replace(report(run, production), limits=Limits(limit, production=production))
        of_report = by_question(told.to_json()["answers"])
        try:
            advice = advised(run, limit, production)
        except NothingMeasuredError:
            assert not of_report
            continue
        assert by_question(advice_json(advice)["answers"]) == of_report and of_report
        console = Console(width=120)
        with console.capture() as captured:
            for part in advice_text(advice):
                console.print(part)
        of_advise, ends = words(captured.get()), closing_lines(data(run), advice.request.limits)
        markdown = re.sub(r"\*\*|\\", "", markdown_page(told))
        for (workload, tasks), answer in of_report.items():
            assert answer["answer"] in of_advise
            assert all(remark in of_advise for remark in answer["remarks"])
            whole = len(tasks) == max(len(t) for w, t in of_report if w == workload)
            if whole:  # a task's own answer stands below that to all of them
                start = f"{workload} on {tasks[0] if len(tasks) == 1 else '2 tasks'}: "
                assert any(line.startswith(start + answer["answer"]) for line in ends)
                assert start + answer["answer"] in markdown
            if whole and page is not None:
                title = start.removesuffix(": ")
                lines = [words(line) for line in page.found[str(limit)]]
                assert any(title in one and answer["answer"] in one for one in lines)


def _has_lossy_dense(run: Path) -> bool:
    return any(r.backbone.is_dense and r.engine.precision == "int8" for r in data(run).records)


# A dense cell in INT8 loses a little itself: within a limit of 0 the hurdle is the next dense one,
# which the comparison's total is not against.
@pytest.mark.parametrize(
    ("run", "limit"),
    [(run, limit) for run in RUNS for limit in LIMITS if limit or not _has_lossy_dense(run)],
)
def test_what_is_taken_follows_from_the_tables(run: Path, limit: float) -> None:
    """By hand: the fastest whose total is better, within the limit by a t-test over seeds."""
    records = {record.id: record for record in data(run).records}
    taken: dict[tuple[str, str], Record] = {}
    for one in compare_run(data(run).records, data(run).trials):
        sparse, dense = records[one.sparse], records[one.dense or ""]
        if not one.trained or one.total_verdict != "better":
            continue
        delta, degrees = one.accuracy_delta, min(len(_seeds(sparse, records)),
                                                 len(_seeds(dense, records))) - 1  # fmt: skip
        assert delta is not None and delta.ci95 is not None
        error = (delta.ci95[1] - delta.mean) / stats.t.ppf(0.975, degrees)
        within = stats.t.cdf((limit + delta.mean) / max(error, 1e-12), degrees)
        key = (one.workload, sparse.task.name)
        fastest = taken.get(key)
        quicker = fastest is None or _level(run, sparse) < _level(run, fastest)
        if within >= 0.95 and quicker:
            taken[key] = sparse
    for said in report(run, False).answers[limit]:
        question, take = said.answer.question, said.answer.take
        if len(question.tasks) == 1 and said.answer.kind != "none":
            expected = taken.get((question.workload, question.tasks[0]))
            assert (said.answer.kind == "sparse") == (expected is not None)
            assert expected is None or (take and take.record.id) == expected.id


def _seeds(record: Record, records: dict[str, Record]) -> tuple[float, ...]:
    """Its own accuracies, or those of the workload that it takes them from."""
    trained = [record, *(r for r in records.values() if r.backbone.name == record.backbone.name
                         and r.task.name == record.task.name)]  # fmt: skip
    return next(r.accuracy.per_seed for r in trained if r.accuracy is not None)


def _level(run: Path, record: Record) -> float:
    return data(run).times[record.id].level.mid


def test_one_and_both_tasks_of_three_ways_are_questions() -> None:
    found = by_question(
        report(REFERENCE / "amd-epyc-2cpu" / "three-ways", False).to_json()["answers"]
    )
    tasks = ("flowers5-128:500", "dtd10-160:500")
    for workload in ("linear-cached", "linear-online", "full"):
        assert {(workload, tasks), *((workload, (task,)) for task in tasks)} <= set(found)


def test_a_batch_size_is_the_same_question_everywhere(tmp_path: Path) -> None:
    from tests.bench.decide.made import cell, folder_of

    points = (90.0, 90.2, 90.4)
    records = [
        cell(name, "onnxruntime", (seconds * shift, seconds, seconds), points, batch_size=size)
        for size, speed in ((1, 0.7), (64, 2.0))
        for name, seconds, shift in (("dense", 1e-3, 1.0), ("acdc-90", 1e-3 / speed, 1.01))
    ]
    folder_of(records).write(tmp_path / "run")
    answers = report(tmp_path / "run", False).to_json()["answers"]
    assert [one["batch_size"] for one in answers] == [1, 64]
    for one in answers:
        advice = advise(
            [RunData.of("run", records)], Request(batch_size=one["batch_size"])
        ).answers[0]
        assert advice.answer.take is not None
        assert advice.answer.take.name == one["take"]["name"]
        sparse = "acdc-90" in one["take"]["name"]
        assert sparse == (one["batch_size"] == 64)


def test_the_commands_say_it_too(cli: Callable[..., Result]) -> None:
    run = REFERENCE / "amd-epyc-2cpu" / "full-families"
    advice = cli("advise", run, "--json")
    told = json.loads(advice.out)
    of_report = by_question(json.loads(cli("report", run, "--json").out)["answers"])
    of_advise = by_question(told["answers"])
    for key, one in of_report.items():
        assert (one["kind"], one["answer"]) == (of_advise[key]["kind"], of_advise[key]["answer"])
    assert advice.code == told["exit_code"] == 4
    assert cli("advise", run, "--inconclusive", "pass").code == 0
    assert cli("advise", run, "--inconclusive", "fail").code == 1
    assert cli("advise", run, "--inconclusive", "maybe").code == 2
    assert cli("advise", run, "--confidence", "70%").code == 4
    assert cli("advise", run, "--confidence", "certain").code == 2
    assert cli("advise", run, "--confidence", "30%").code == 2
