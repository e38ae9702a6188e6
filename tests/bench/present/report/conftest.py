"""Reports that several tests look at: the reference run, and a synthetic one with hostile names."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

import sparsebench.results as results
from sparsebench.bench.present.report import Report, build_report
from tests.bench.present.report.synthetic_suite import (
    TASKS,
    SyntheticSuite,
    discarded,
    synthetic_suite,
)

QUICK = Path(results.__path__[0]) / "reference" / "amd-epyc-2cpu" / "quick"
# Breaks out of text, attributes, script elements, templates, TeX and Markdown wherever it can.
HOSTILE = (
    "<script>window.pwned=1</script>\"'></script><img src=x onerror=window.pwned=1>"
    "$$x^2$$ {{7*7}} &amp; `|` **b** @you #1"
)


def hostile_suite() -> SyntheticSuite:
    """200 cells; the name of a task, a reason, a licence, a machine and a package are hostile."""
    found = synthetic_suite(tasks=(HOSTILE, *TASKS[1:]), machine={
        "fingerprint": "5717e71c5717e71c", "cpu": f"CPU {HOSTILE}", "usable_cpus": 8,
    })  # fmt: skip
    engine = {"licence": f"L {HOSTILE}", "support": f"S {HOSTILE}"}
    records = [
        replace(record, extra={"engine": engine}, packages={"torch": f"v {HOSTILE}"})
        if record.engine.name == "torch"
        else record
        for record in found.records
    ]
    found = SyntheticSuite(tuple(records), (discarded(records[5], reason=f"drift {HOSTILE}"),))
    return found.changed(7, status="failed", reason=f"failed {HOSTILE}", trials=(), accuracy=None)


def reference_rows() -> list[dict[str, str]]:
    """The cells of the reference run as its own summary.csv tells them."""
    with (QUICK / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def reference_winner(workload: str, margin: float = 0.5) -> tuple[dict[str, str], bool]:
    """The row that must win, by hand from summary.csv; whether it is a sparse one."""
    rows = [row for row in reference_rows() if row["workload"] == workload]
    allowed = [
        row for row in rows
        if row["method"] == "dense" or float(row["accuracy_change_low"] or "-inf") >= -margin
    ]  # fmt: skip
    best = max(allowed, key=_speed)
    if best["method"] != "dense" and best["verdict_best_dense"] == "better":
        return best, True
    return max((row for row in allowed if row["method"] == "dense"), key=_speed), False


def _speed(row: dict[str, str]) -> float:
    per_second = row["pictures_per_second"]
    return float(per_second) if per_second else 1 / float(row["seconds"])


@pytest.fixture(scope="session")
def hostile_report(hostile_run: Path) -> Report:
    """What its report says."""
    return build_report([hostile_run])


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hostile run's folder."""
    return hostile_suite().write(tmp_path_factory.mktemp("report") / "synthetic-hostile")
