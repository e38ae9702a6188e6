"""Several runs side by side: ratios, and what differs; never a time over another run's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.report.contents import beside_table, cell_tables
from sparsebench.bench.present.report.markdown import markdown_page
from sparsebench.bench.present.report.page import html_page
from tests.bench.present.report.synthetic_suite import (
    MACHINE,
    SPARSE,
    SyntheticSuite,
    synthetic_suite,
)

OTHER = {"fingerprint": "0ther0ther0ther0", "cpu": "Other CPU", "usable_cpus": 8}


def suite(**options: object) -> SyntheticSuite:
    return synthetic_suite(workloads=("inference",), tasks=("pets",), **options)  # type: ignore[arg-type]


def test_machines_are_compared_by_ratios_and_differences_are_named(tmp_path: Path) -> None:
    faster = {name: (1.25 * speedup, change) for name, (speedup, change) in SPARSE.items()}
    other = suite(machine=OTHER, sparse=faster, seed=1)
    newer = tuple(replace(r, engine=replace(r.engine, version="1.1")) for r in other.records)
    runs = [
        suite().write(tmp_path / "here"),
        replace(other, records=newer).write(tmp_path / "there"),
    ]
    report = build_report(runs)
    named = {one.what: one.values for one in report.differences}
    assert named["machine: fingerprint"] == (MACHINE["fingerprint"], OTHER["fingerprint"])
    assert named["machine: cpu"] == ("Synthetic CPU", "Other CPU")
    assert named["version of deepsparse"] == ("1.0", "1.1")
    assert "threads" not in named
    row = next(one for one in report.beside if one.key[2:] == ("resnet50/acdc-90", "deepsparse"))
    change = row.changes[1]
    assert change is not None and change.ratio is not None
    assert change.ratio.median == pytest.approx(1.25, rel=0.005)  # of the speed-ups, as made above
    assert change.verdict == "better"
    titles = " ".join(column.title for column in beside_table(report).columns)
    assert "pictures" not in titles and "seconds" not in titles
    assert [grid.title for grid in cell_tables(report)] == [
        "inference on pets, here", "inference on pets, there",
    ]  # fmt: skip
    assert [one.title for one in report.chosen] == [
        "inference on pets, here", "inference on pets, there",
    ]  # fmt: skip
    for text in (html_page(report), markdown_page(report)):
        assert "Other CPU" in text and "over the first" in text


def test_other_settings_are_shown_but_not_divided(tmp_path: Path) -> None:
    other = suite()
    longer = tuple(replace(r, settings={**r.settings, "epochs": 3}) for r in other.records)
    runs = [suite().write(tmp_path / "a"), replace(other, records=longer).write(tmp_path / "b")]
    report = build_report(runs)
    for row in report.beside:
        change = row.changes[1]
        assert change is not None and change.ratio is None
        assert change.differs == ("settings.epochs",)
    assert {one.what for one in report.differences} == {"setting epochs"}


def test_other_weights_are_not_the_same_cell(tmp_path: Path) -> None:
    other = suite()
    trained = tuple(
        replace(r, backbone=replace(r.backbone, sha256="e" * 64)) for r in other.records
    )
    runs = [suite().write(tmp_path / "a"), replace(other, records=trained).write(tmp_path / "b")]
    change = build_report(runs).beside[0].changes[1]
    assert change is not None and change.differs == ("weights",)


def test_runs_without_a_common_cell_still_make_a_report(tmp_path: Path) -> None:
    runs = [
        suite(engines=("torch", "deepsparse")).write(tmp_path / "a"),
        suite(engines=("onnxruntime", "openvino")).write(tmp_path / "b"),
    ]
    report = build_report(runs)
    assert report.beside == ()
    assert "no sparse cell in common" in html_page(report)


def test_runs_of_one_name_are_told_apart_and_a_repeated_one_counts_once(tmp_path: Path) -> None:
    runs = [suite().write(tmp_path / side / "run") for side in ("x", "y")]
    report = build_report([*runs, runs[0]])
    assert [run.label for run in report.runs] == ["x/run", "y/run"]
