"""Runs beside the paper: which cells meet, what the differences and rankings are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from sparsebench.bench.decide import RunData
from sparsebench.bench.paper import (
    Reproduction,
    difficulty,
    error_increase,
    paper_cells,
    reproduce,
    task_grid,
)
from sparsebench.bench.paper.measures import agreement, correlation, difference
from sparsebench.bench.paper.tables import markdown_page, sentences, tables
from sparsebench.bench.paper.transfer_cells import Cell, Model
from sparsebench.bench.present.plots import epoch_time
from sparsebench.bench.present.plots.canvas import NothingToDrawError
from sparsebench.bench.present.table import terminal
from sparsebench.bench.records import RunFolder
from tests.bench.conftest import Result
from tests.bench.paper.runs import record_of, run_beside_the_paper
from tests.bench.present.plots.test_speedup_accuracy import texts

Cli = Callable[..., Result]
OFF = {"acdc": -0.5, "str": 0.8, "rigl_erk_5x": 0.1, "woodfisher": -0.2}


@pytest.fixture(scope="module")
def beside() -> Reproduction:
    return reproduce([run_beside_the_paper(OFF)])


def the_cell(method: str, sparsity: float, task: str, transfer: str = "linear") -> Cell:
    return next(
        c
        for c in paper_cells()
        if (c.model, c.task, c.transfer) == (Model("resnet50", method, sparsity), task, transfer)
    )


def test_our_cells_meet_the_paper_s_and_differ_by_what_was_planted(beside: Reproduction) -> None:
    assert len(beside.ours) == (1 + 3 + 4 + 3 + 3) * 5 * 2
    assert beside.shared == len(beside.ours)
    planted = {"dense": 0.0, **OFF}
    for row in beside.tasks:
        assert row.difference is not None
        assert row.difference.mid == pytest.approx(planted[row.ours.model.method], abs=1e-3)


def test_mean_relative_error_increase_over_the_shared_tasks(beside: Reproduction) -> None:
    """By hand: half a point of accuracy is so many per cent of each task's dense error."""
    row = next(
        r
        for r in beside.errors
        if r.model == Model("resnet50", "acdc", 0.9) and r.transfer == "linear"
    )
    dense = {c.task: c.mean for c in paper_cells()
             if c.model == Model("resnet50", "dense", 0) and c.transfer == "linear"}  # fmt: skip
    assert row.ours is not None and row.shared_paper is not None and row.difference is not None
    assert row.ours.tasks == ("aircraft", "cars", "dtd", "flowers102", "pets")
    by_hand = [100 * 0.5 / (100 - dense[task]) for task in row.ours.tasks]
    assert row.difference.mid == pytest.approx(np.mean(by_hand), abs=0.01)
    assert row.ours.value.mid - row.shared_paper.value.mid == pytest.approx(row.difference.mid)
    assert row.paper is not None and len(row.paper.tasks) == 12


def test_ranking_agreement_is_kendall_s_tau_over_networks(beside: Reproduction) -> None:
    rows = [r for r in beside.errors if r.transfer == "full" and r.shared_ours and r.shared_paper]
    ours = [r.shared_ours.value.mid for r in rows if r.shared_ours]
    paper = [r.shared_paper.value.mid for r in rows if r.shared_paper]
    expected = stats.kendalltau(ours, paper)
    found = beside.agreements["resnet50", "full"]
    assert found.count == 13
    assert (found.tau, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    exact = reproduce([run_beside_the_paper(dict.fromkeys(OFF, 0.0))])
    assert exact.agreements["resnet50", "linear"].tau == pytest.approx(1.0)


def test_tau_and_correlation_of_closed_forms() -> None:
    ranked = agreement([1, 2, 3, 4], [1, 2, 4, 3])
    assert ranked is not None and ranked.tau == pytest.approx(4 / 6)  # one of six pairs is turned
    assert agreement([1, 2], [1, 2]) is None
    found = correlation([1, 2, 3, 4], [2, 1, 4, 3])
    # z = atanh(0.6), standard error 1/sqrt(n - 3) = 1
    assert found is not None and found.r == pytest.approx(0.6)
    assert found.low == pytest.approx(np.tanh(np.arctanh(0.6) - 1.959964))
    assert found.high == pytest.approx(np.tanh(np.arctanh(0.6) + 1.959964))
    assert correlation([1, 1, 1, 1], [1, 2, 3, 4]) is None


def test_interval_of_a_difference_is_welch_s() -> None:
    ours, paper = np.array([91.0, 91.4, 91.9]), np.array([90.0, 90.1, 90.2, 90.4, 89.9])
    cells = [
        Cell(Model("a", "m", 0.9), "linear", "pets", one.mean(), one.std(ddof=1), len(one), None)
        for one in (ours, paper)
    ]
    expected = stats.ttest_ind(ours, paper, equal_var=False).confidence_interval(0.95)
    found = difference(cells[0], cells[1])
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    lone = replace(cells[0], std=None, trainings=1)
    assert difference(lone, cells[1]).ci95 is None


def test_what_is_not_the_paper_s_cell_never_stands_beside_one() -> None:
    cell = the_cell("acdc", 0.8, "pets")
    records = [
        record_of(cell, task="pets:300"),
        record_of(cell, metric="top1"),
        record_of(cell, trained=False, workload="linear-online"),
        record_of(cell, variant="+compact", workload="full"),
    ]
    found = reproduce([RunData.of("", records)])
    assert {one.task for one in found.ours} == {"pets:300", "pets (top1)"}
    assert found.shared == 0
    assert len(found.left_out) == 2
    said = " ".join(sentences(found))
    assert "its columns stand alone" in said and "with generated weights" in said


def test_cached_features_count_before_online_ones_as_in_the_paper() -> None:
    cell = the_cell("acdc", 0.8, "pets")
    online, cached = record_of(cell, 3.0, workload="linear-online"), record_of(cell, 1.0)
    for order in ((online, cached), (cached, online)):
        (row,) = reproduce([RunData.of("", order)]).tasks
        assert row.difference is not None and row.difference.mid == pytest.approx(1.0, abs=1e-3)


def printed(found: Reproduction, width: int = 80) -> str:
    out = StringIO()
    console = Console(file=out, width=width, color_system=None)
    for table in tables(found, wide=False):
        console.print(terminal(table))
    return out.getvalue()


def test_tables_fit_eighty_columns_one_line_a_network(beside: Reproduction) -> None:
    for found in (beside, reproduce()):
        text = printed(found)
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        assert re.search(r"^RigL ERK 5x +80%", text, re.MULTILINE)
        assert re.search(r"^LTH-T .*\+401\.6 ±213\.3", text, re.MULTILINE)
    assert re.search(r"^AC/DC 90% +−2\.0 ±3\.8 .* 5/5$", printed(beside), re.MULTILINE)
    everything = markdown_page(beside)
    assert "Kendall tau" in everything and "accuracies of the paper, full" in everything


def test_an_architecture_that_the_paper_lacks_stands_alone() -> None:
    run = run_beside_the_paper({"acdc": 0.0}, tasks=("pets",))
    renamed = [
        replace(r, backbone=replace(r.backbone, name=r.backbone.name.replace("50", "18"),
                                    dense_partner="resnet18/dense@paper"))
        for r in run.records
    ]  # fmt: skip
    found = reproduce([RunData.of("", renamed)])
    rows = [row for row in found.errors if row.model.arch == "resnet18"]
    assert len(rows) == 6 and all(row.paper is None and row.ours for row in rows)
    shown = texts(error_increase.draw(found.errors, "resnet18"))
    assert "filled: ours" in shown and "hollow: the paper" not in shown


def test_figures_side_by_side(beside: Reproduction) -> None:
    drawn = error_increase.draw(beside.errors, "resnet50")
    highest = max(row.paper.value.mid for row in beside.errors if row.paper
                  and row.model.arch == "resnet50")  # fmt: skip
    assert highest > 400
    assert max(axes.get_ylim()[1] for axes in drawn[0].axes) > highest  # nothing is clipped
    shown = texts(drawn)
    for word in ("hollow: the paper", "filled: ours", "AC/DC", "Ours over 5 tasks"):
        assert word in shown
    (grid,) = task_grid.draw(beside.paper, beside.ours, "resnet50", "full")
    assert [axes.get_title(loc="left") for axes in grid.axes if axes.axison] == sorted(
        {cell.task for cell in beside.paper}
    )
    gaps = texts(difficulty.draw(beside.benefits, beside.our_benefits, "resnet50"))
    assert "80%: r +0.85 (+0.53 to +0.96)" in gaps and "80%, ours: r" in gaps
    with pytest.raises(NothingToDrawError):
        task_grid.draw(beside.paper, beside.ours, "resnet18", "full")


def test_time_per_epoch_against_accuracy() -> None:
    cells = [the_cell("dense", 0.0, "pets", "full"), the_cell("acdc", 0.9, "pets", "full")]
    seconds = (20.0, 8.0)
    records = [record_of(c, epoch_seconds=s) for c, s in zip(cells, seconds, strict=True)]
    run = RunData.of("", records)
    (axes,) = epoch_time.draw([run])[0].axes
    points = [container[0].get_xydata()[0] for container in axes.containers]
    for (x, y), cell, expected in zip(points, cells, seconds, strict=True):
        assert x == pytest.approx(1.02 * expected, rel=0.01)  # seeds 1-3 are 1-3 % slower
        assert y == pytest.approx(cell.mean, abs=0.01)
    with pytest.raises(NothingToDrawError, match="epoch by epoch"):
        epoch_time.draw([run_beside_the_paper({})])


def test_the_command_without_a_run(cli: Cli) -> None:
    done = cli("reproduce", "--paper-only")
    assert done.code == 0, done.err
    for line in (r"AC/DC +80% +−3\.2 ±\S+ +\+7\.7", r"M-FAC +89% +\+10\.9 ±\S+ +\+36\.1"):
        assert re.search(line, done.out)
    assert "the paper's columns stand alone" in done.out
    facts = json.loads(cli("reproduce", "--paper-only", "--json").out)
    first = facts["error_increases"][0]
    assert first["model"] == {"arch": "resnet50", "method": "acdc", "sparsity": 0.8}
    assert first["paper"]["value"]["mid"] == pytest.approx(-3.2, abs=0.05)
    assert len(facts["accuracies"]["paper"]) == 720


def test_the_command_with_a_run(cli: Cli, tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run") as folder:
        for record in run_beside_the_paper({"acdc": -0.5}, tasks=("pets",)).records:
            folder.append_record(record)
    done = cli("reproduce", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["cells_beside_the_paper"] == 8
    assert {row["ours"]["source"].split()[1] for row in facts["accuracies"]["ours"]} == {"torch"}


def test_wrong_usage_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    for arguments, word in (
        ((), "--paper-only"),
        ((tmp_path, "--paper-only"), "exclude each other"),
        ((tmp_path,), "holds no run"),
    ):
        done = cli("reproduce", *arguments)
        assert done.code == 2 and "Traceback" not in done.err
        assert word in done.err


@pytest.mark.usefixtures("coarse_figures")
def test_every_file_is_written(cli: Cli, tmp_path: Path) -> None:
    done = cli("reproduce", "--paper-only", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    stems = {Path(name).stem for name in facts["files"]}
    assert stems == {
        "tables", "error-increase", "accuracy", "dead-filters",
        *(f"{kind}-{arch}" for arch in ("resnet50", "mobilenet_v1")
          for kind in ("error-increase", "difficulty")),
        *(f"tasks-{arch}-{transfer}" for arch in ("resnet50", "mobilenet_v1")
          for transfer in ("linear", "full")),
    }  # fmt: skip
    assert all(Path(name).stat().st_size > 0 for name in facts["files"])
    assert facts["not_drawn"][0].startswith("epoch-time: Nothing was trained epoch by epoch.")
