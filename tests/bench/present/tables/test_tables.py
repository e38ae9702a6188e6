"""Tables: complete, readable at 80 columns, and never a bare point."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from rich.console import Console, RenderableType

from sparsebench.bench.comparisons import compare_folders, compare_run
from sparsebench.bench.present.table import terminal
from sparsebench.bench.present.tables import (
    Section,
    compared_table,
    numbers,
    sections,
    summary_csv,
    terminal_tables,
)
from sparsebench.bench.records import Accuracy, Delta, Estimate
from sparsebench.bench.statistics import Interval
from tests.bench.synthetic import SyntheticRun, make_run, true_seconds, true_speedup

FAILED = {("inference", "resnet18/magnitude-50", "torch"), ("inference", "resnet18/dense", "torch")}


def tables_of(run: SyntheticRun) -> list[Section]:
    return sections(run.records, run.trials, compare_run(run.records, run.trials))


def printed(renderables: Sequence[RenderableType], width: int, colour: bool = False) -> str:
    system: Literal["standard"] | None = "standard" if colour else None
    console = Console(width=width, file=io.StringIO(), force_terminal=colour, color_system=system)
    for renderable in renderables:
        console.print(renderable)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return make_run(failed=FAILED)


@pytest.fixture(scope="module")
def found(run: SyntheticRun) -> list[Section]:
    return tables_of(run)


def test_one_table_a_workload_with_every_measured_cell(found: list[Section]) -> None:
    assert [(s.workload, len(s.rows)) for s in found] == [("inference", 10), ("linear-cached", 12)]
    assert found[0].settings == (
        "cpu, fp32, 2 threads, batch 64, 64 px, 5 blocks, 1,437 training and 360 test images"
    )


def test_dense_comes_first_then_rising_sparsity(found: list[Section]) -> None:
    names = list(dict.fromkeys(row.record.backbone.name.partition("/")[2] for row in found[1].rows))
    assert names == ["dense", "magnitude-50", "acdc-90", "erk-90@generated"]


def test_speeds_are_true(found: list[Section]) -> None:
    for section in found:
        for row in section.rows:
            cell = (section.workload, row.record.backbone.name, row.engine)
            expected = true_seconds(*cell)
            expected = 1 / expected if section.throughput else expected
            assert row.speed.mid == pytest.approx(expected, rel=0.12)
            assert row.speed.ci95 is not None


@pytest.mark.parametrize("width", [80, 90, 100, 120])
def test_terminal_tables_fit_and_cut_nothing(
    found: list[Section], run: SyntheticRun, width: int
) -> None:
    text = printed(terminal_tables(found, run.records), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for word in ("onnxruntime", "inconclusive", "resnet18/erk-90@generated", "images/s"):
        assert word in text


def test_wide_table_has_one_line_a_cell(found: list[Section], run: SyntheticRun) -> None:
    lines = printed(terminal_tables(found, run.records), 100).splitlines()
    row = lines[lines.index(next(x for x in lines if x.startswith("resnet18/acdc-90"))) + 1]
    accuracy, change, speed = r"\d+\.\d ±\d\.\d", r"−\d\.\d ±\d\.\d", r"[\d,]+ ±\d+%"
    ratio = r"\d\.\d\d× \(\d\.\d\d–\d\.\d\d\)"
    pattern = rf" deepsparse +{accuracy} +{change} +{speed} +{ratio} +{ratio} better +\d+%\s*"
    assert re.fullmatch(pattern, row)


def test_colour_adds_nothing_that_the_words_lack(found: list[Section], run: SyntheticRun) -> None:
    tables = terminal_tables(found, run.records)
    coloured, plain = printed(tables, 100, colour=True), printed(tables, 100)
    assert "\x1b[" in coloured and "\x1b[" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_failed_cells_are_listed_with_reasons(found: list[Section], run: SyntheticRun) -> None:
    on_terminal, summary = printed(terminal_tables(found, run.records), 200), run.markdown()
    for text in (on_terminal, summary):
        assert "resnet18/magnitude-50 on torch" in text
        assert "signal 11" in text
    assert "no comparison: its dense baseline was not measured" in on_terminal
    assert "| not compared | resnet18/acdc-90 on torch |" in summary


def test_generated_backbones_are_speed_only(found: list[Section], run: SyntheticRun) -> None:
    text = run.markdown()
    rows = [row for row in cell_rows(text) if row[0] == "resnet18/erk-90@generated"]
    assert rows
    for cells in rows:
        assert cells[3:5] == ["speed only", "speed only"]
    lines = iter(printed(terminal_tables(found, run.records), 100).splitlines())
    assert any(line.startswith("resnet18/erk-90@generated") for line in lines)
    assert "speed only" in next(lines)


def cell_rows(text: str) -> list[list[str]]:
    """The rows of the tables of cells, which are wider than all others."""
    rows = [line for line in text.splitlines() if line.startswith("| resnet18/")]
    found = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [row for row in found if len(row) > 10]


def test_markdown_never_shows_a_bare_point(found: list[Section], run: SyntheticRun) -> None:
    text = run.markdown()
    assert "Test CPU, 2 CPUs" in text
    rows = cell_rows(text)
    assert len(rows) == 22
    for row in rows:
        for cell in row[3:8]:
            assert "±" in cell or re.search(r"\(.+–.+\)", cell) or not re.search(r"\d", cell)


def test_deepsparse_is_never_shown_without_its_licence() -> None:
    with_it, without = make_run(blocks=2), make_run(blocks=2, engines=("onnxruntime", "torch"))
    for run, expected in ((with_it, True), (without, False)):
        found = tables_of(run)
        for text in (
            run.markdown(),
            " ".join(printed(terminal_tables(found, run.records), 80).split()),
        ):
            said = "allows evaluation, not production" in text and "ended in June 2025" in text
            assert said == expected


def test_csv_has_points_and_ends_of_intervals(found: list[Section]) -> None:
    table = pd.read_csv(io.StringIO(summary_csv(found)))
    assert table["interval"].isna().all()
    assert len(table) == 22
    fast = table[(table.backbone == "resnet18/acdc-90") & (table.engine == "deepsparse")]
    assert list(fast.verdict) == ["better", "better"]
    for _, row in fast.iterrows():
        assert row.speedup_same_engine_low < row.speedup_same_engine < row.speedup_same_engine_high
        truth = true_speedup(row.workload, "resnet18/acdc-90", "deepsparse")
        assert row.speedup_same_engine == pytest.approx(truth, rel=0.1)
        assert row.accuracy_change_low < row.accuracy_change_points < row.accuracy_change_high
    dense = table[table.backbone == "resnet18/dense"]
    assert set(dense.speedup_same_engine) == {1.0}
    assert (table.pictures_per_second.notna() == (table.workload == "inference")).all()


def test_csv_of_a_run_without_measurements_has_its_header() -> None:
    cell = ("inference", "resnet18/dense", "torch")
    run = make_run(failed={cell}, backbones=(cell[1],), engines=(cell[2],), workloads=(cell[0],))
    found = tables_of(run)
    assert next(csv.reader(io.StringIO(summary_csv(found))))[:3] == ["workload", "task", "backbone"]
    text = printed(terminal_tables(found, run.records), 80)
    assert "Nothing was measured." in text and "signal 11" in text


def test_settings_that_vary_stand_with_the_engine() -> None:
    one, four = make_run(blocks=2, threads=1), make_run(blocks=2, threads=4)
    both = SyntheticRun([*one.records, *four.records], [*one.trials, *four.trials])
    section = tables_of(both)[0]
    assert {row.engine for row in section.rows} >= {"torch 1 thread", "torch 4 threads"}
    assert "thread" not in section.settings


def test_single_block_and_single_seed_say_that_there_is_no_interval() -> None:
    run = make_run(blocks=1)
    records = [
        replace(r, accuracy=Accuracy.of("top1", r.accuracy.per_seed[:1], [21])) if r.accuracy else r
        for r in run.records
    ]
    text = SyntheticRun(records, run.trials).markdown()
    assert re.search(r"\| \d\d\.\d \|", text) and re.search(r"\| \d\.\d\d× \|", text)
    tables = printed(terminal_tables(tables_of(SyntheticRun(records, run.trials)), records), 100)
    for said in (text, tables):
        found = " ".join(said.split())
        found = found[
            max(0, found.find("## inference")) :
        ]  # below the answers, which say it of theirs
        assert found.lower().count("no interval") == 2  # once a table, and there are two tables
        assert "No interval in 'accuracy %', 'accuracy change (pp)', 'images/s'" in found
        assert "Of times that takes 3 blocks (--repeats 3 or more)" in found
    assert "inf" not in text.replace("inference", "") and "nan" not in text
    lines = csv.DictReader(io.StringIO(summary_csv(tables_of(run))))
    assert {line["interval"] for line in lines} == {"no interval: that takes 3 blocks"}


def test_a_dense_cell_without_an_interval_is_a_reference_and_no_winner() -> None:
    """Issue: `--repeats 1` marked one "best dense", though nothing was shown of it."""
    run = make_run(blocks=1)
    text = printed(terminal_tables(tables_of(run), run.records), 100)
    assert "best dense" not in text.replace("best dense engine", "").split("How to read it")[0]
    assert text.count(" reference") == 2
    lines = list(csv.DictReader(io.StringIO(summary_csv(tables_of(run)))))
    dense = [one for one in lines if one["backbone"] == "resnet18/dense"]
    assert sum(float(one["speedup_best_dense"]) == 1 for one in dense) == 2
    (whole, other) = (row for row in tables_of(make_run(blocks=3))[0].rows if row.reference), 1
    assert [row.best for row in whole] == [other]


def test_a_number_without_an_interval_is_marked_where_others_have_one() -> None:
    few, many = make_run(blocks=2, engines=("torch",)), make_run(blocks=4, engines=("deepsparse",))
    run = SyntheticRun([*few.records, *many.records], [*few.trials, *many.trials])
    section = tables_of(run)[0]
    assert [row.engine for row in section.rows if row.best] == ["deepsparse"]
    text = printed(terminal_tables([section], run.records), 100)
    lines = [line for line in text.splitlines() if line.startswith(" torch")]
    assert lines and all("*" in line for line in lines)
    assert not [line for line in text.splitlines() if line.startswith(" deeps") and "*" in line]
    assert text.count("No interval where a * stands.") == 1


def test_numbers() -> None:
    assert numbers.ratio(Estimate(4.043, (3.9, 4.2), 5)) == ("4.04×", "3.90–4.20")
    assert numbers.ratio(Estimate(15.13, (14.0, 16.0), 5)) == ("15.1×", "14.0–16.0")
    assert numbers.ratio(Estimate(123.4, None, 1)) == ("123×", "no interval")
    assert numbers.ratio(Estimate(2.0, (0.0004, 1e7), 3)) == ("2.00×", "0–>999")
    assert numbers.ratio(Estimate(9.999, (9.0, 10.5), 3)) == ("10.0×", "9.00–10.5")
    assert [numbers.share(x) for x in (0.001, 0.05, 2.5, 80.0)] == ["<1%", "5%", "250%", ">999%"]
    assert numbers.points(Delta(-0.04, (-0.07, -0.01))) == ("0.0", "±<0.1")
    assert numbers.points(Delta(-1.26, (-1.5, -1.02))) == ("−1.3", "±0.2")
    assert numbers.points(Delta(0.5, None)) == ("+0.5", "no interval")
    assert numbers.percent(Accuracy("top1", (0.9,), 0.9, (0.88, 0.92))) == ("90.0", "±2.0")
    assert numbers.speed(Interval(1234.4, 1210.0, 1260.0, 5)) == ("1,234", "±2%")
    assert numbers.speed(Interval(0.0456, 0.0455, 0.0457, 5)) == ("0.0456", "±<1%")
    assert numbers.speed(Interval(12.34, float("-inf"), float("inf"), 1)) == ("12.3", "no interval")


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    a = make_run(blocks=3, seed=1).write(tmp_path / "before")
    b = make_run(blocks=3, seed=2, engines=("deepsparse",)).write(tmp_path / "after")
    text = printed([terminal(compared_table(compare_folders(a, b)))], 100)
    assert "after against before" in text
    assert "resnet18/acdc-90 on deepsparse (inference)" in text
    assert "Only in before:" in text
    assert re.search(r"\d\.\d\d× \d\.\d\d–\d\.\d\d", text)
