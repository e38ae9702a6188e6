"""The Markdown report: the same facts, and names that stay text."""

from __future__ import annotations

import json
import re

import pytest

from sparsebench.bench.present.escape import markdown
from sparsebench.bench.present.report import Report, build_report
from sparsebench.bench.present.report.markdown import markdown_page
from tests.bench.present.report.conftest import HOSTILE, QUICK, reference_rows, reference_winner


@pytest.fixture(scope="module")
def hostile_text(hostile_report: Report) -> str:
    return markdown_page(hostile_report)


def test_it_opens_with_the_answer_and_has_every_cell() -> None:
    text = markdown_page(build_report([QUICK], 1.0))
    lines = text.splitlines()
    assert lines[0] == "# Which is fastest within 1 point?"
    for workload in ("inference", "linear-cached"):
        row, sparse = reference_winner(workload, 1.0)
        answer = next(line for line in lines if line.startswith(f"**{workload} on digits**"))
        assert f"**{markdown(row['backbone'])} on {row['engine']}**" in answer
        assert "accuracy **" in answer or not sparse
    # Ratios of cells have an interval; those of one-off costs are points.
    rows = [line for line in lines if line.startswith("| resnet18/") and "× (" in line]
    assert len(rows) == sum(float(row["speedup_best_dense"]) != 1 for row in reference_rows())
    assert "sparsebench run " in text and "evaluation only, not production" in text
    machine = json.loads((QUICK / "records.jsonl").read_text().splitlines()[0])["machine"]
    assert machine["fingerprint"] in text


def test_tables_keep_their_columns_whatever_the_names(hostile_text: str) -> None:
    text = hostile_text
    width = 0
    for line in text.splitlines():
        if line.startswith("| "):
            cells = len(re.findall(r"(?<!\\)\|", line))
            width = width or cells
            assert cells == width, line
        else:
            width = 0


def test_names_stay_text(hostile_text: str) -> None:
    text = hostile_text
    outside = re.sub(r"^(`{3,})sh$.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert markdown(HOSTILE) in outside
    assert "<script" not in outside and "<img" not in outside
    assert not re.search(r"(?<!\w)@you", outside)
    assert "**b**" not in outside
    assert set(re.findall(r"<(/?\w+)", outside)) <= {"details", "summary", "/details", "/summary"}


def test_a_code_block_cannot_be_ended_from_inside(hostile_text: str) -> None:
    """A task's name with back-ticks stands in the commands."""
    text = hostile_text
    fences = re.findall(r"^(`{3,})(sh)?$", text, re.MULTILINE)
    assert len(fences) % 2 == 0
    assert [bool(kind) for _, kind in fences] == [True, False] * (len(fences) // 2)
