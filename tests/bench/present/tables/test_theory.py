"""Bound, share of the bound and increase of the error: in summary.md, report, JSON and CSV."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.report.contents import cell_tables
from sparsebench.bench.present.summaries import write_summaries
from sparsebench.bench.present.tables import numbers
from tests.bench.conftest import Result
from tests.bench.synthetic import ACCURACY, FLOPS_RATIO, make_run

ACDC = "resnet18/acdc-90"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four-fold faster inference of a network whose FLOPs allow 6.25×; no noise."""
    path = tmp_path_factory.mktemp("theory") / "run"
    made = make_run(engines=["deepsparse"], process=0.0, iteration=0.0)
    write_summaries(made.write(path))
    return path


def row_of(folder: Path, workload: str) -> list[str]:
    text = (folder / "summary.md").read_text().split(f"## {workload} on ")[1].split("\n## ")[0]
    line = next(line for line in text.splitlines() if line.startswith(f"| {ACDC} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_bound_and_share_of_it_stand_in_summary(folder: Path) -> None:
    bound = 1 / FLOPS_RATIO[ACDC]
    cells = row_of(folder, "inference")
    assert cells[-2] == f"{bound:.2f}×" == "6.25×"
    assert cells[-1].startswith(f"{4 / bound:.2f} (")  # 0.64
    errors = float(cells[-3].split("%")[0])  # 9.5 % errors instead of 8.8 %
    assert errors == pytest.approx(100 * ((1 - ACCURACY[ACDC]) / (1 - 0.912) - 1), abs=5)
    # Amdahl: all that is left is what sparsity cannot touch, and no noise: all of it is reached.
    assert float(row_of(folder, "linear-cached")[-1].split()[0]) == pytest.approx(1.0, abs=0.01)


def test_report_and_json_and_csv_have_them_too(folder: Path, cli: Callable[..., Result]) -> None:
    grids = {grid.title.split()[0]: grid for grid in cell_tables(build_report([folder]))}
    grid = grids["linear-cached"]
    assert [c.title for c in grid.columns][-3:] == [
        "relative error increase",
        "bound",
        "efficiency",
    ]
    line = next(line for line in grid.lines if line.entries[0].text == ACDC)
    assert float(str(line.entries[-1].sort)) == pytest.approx(1.0, abs=0.01)
    dense = next(line for line in grid.lines if line.entries[0].text == "resnet18/dense")
    assert [entry.text for entry in dense.entries[-3:]] == ["", "", ""]
    cells = json.loads(cli("report", folder, "--json").out)["cells"]
    told = next(c for c in cells if (c["backbone"], c["workload"]) == (ACDC, "inference"))
    assert told["amdahl_bound"] == pytest.approx(6.25) and told["bound_from"] == "flops"
    assert told["efficiency"] == pytest.approx(0.64, rel=0.02)
    table = pd.read_csv(io.StringIO((folder / "summary.csv").read_text()))
    mine = table[table.backbone == ACDC]
    assert (mine.relative_error_increase_low <= mine.relative_error_increase).all()


def test_words_of_a_relative_change() -> None:
    assert numbers.relative(0.081, (-0.04, 0.21)) == ("+8%", "−4%–+21%")
    assert numbers.relative(-0.001, None) == ("0%", "no interval")
