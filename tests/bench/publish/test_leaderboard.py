"""The leaderboard: many machines, ratios only, the newest run of each cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.publish.leaderboard import leaderboard, leaderboard_page
from sparsebench.bench.records import RunFolder
from tests.bench.conftest import Result
from tests.bench.synthetic import MACHINE, make_run


def made(path: Path, *, day: int = 1, fingerprint: str = "a" * 16, cpu: str = "CPU A") -> RunFolder:
    run = make_run(
        blocks=3, engines=["torch", "deepsparse"], seed=day,
        machine={**MACHINE, "fingerprint": fingerprint, "cpu": cpu},
    )  # fmt: skip
    records = [replace(one, created=f"2026-01-0{day}T00:00:00Z") for one in run.records]
    return replace(run, records=records).write(path)


def test_machines_are_columns_and_the_newest_run_of_a_machine_counts(tmp_path: Path) -> None:
    newer = made(tmp_path / "newer", day=5)
    other = made(tmp_path / "server", fingerprint="b" * 16, cpu="CPU B")
    found = leaderboard([newer, made(tmp_path / "older", day=2), other])
    assert set(found.machines) == {"a" * 16, "b" * 16}
    board, _ = found.boards.values()  # of both workloads
    for places in board.values():
        assert set(places) == set(found.machines)
        assert places["a" * 16].run == "newer"
    assert not any("/dense" in backbone for backbone, _ in board)
    best = [max(one.order for one in places.values()) for places in board.values()]
    assert best == sorted(best, reverse=True)


def test_a_machine_that_ran_nothing_of_a_table_has_no_column_there(tmp_path: Path) -> None:
    other = {**MACHINE, "fingerprint": "b" * 16}
    less = make_run(blocks=3, workloads=["inference"], machine=other).write(tmp_path / "less")
    for table in leaderboard([made(tmp_path / "R"), less]).tables():
        numbers = {column.title.partition(":")[0] for column in table.columns[2:]}
        assert ("machine 2" in numbers) == table.title.startswith("inference"), table.title


def test_the_page_shows_ratios_and_changes_and_no_times(tmp_path: Path) -> None:
    found = leaderboard([made(tmp_path / "R", cpu="<b>CPU</b>")])
    page = leaderboard_page(found)
    assert "&lt;b&gt;CPU" in page and "<b>CPU" not in page
    assert '× <span class="spread">(' in page and "accuracy change (pp)" in page
    assert 'title="&lt;b&gt;CPU' in page  # which machine a column is
    assert "images/s" not in page and " ms" not in page and "<script" not in page


def test_the_command_writes_it_and_refuses_runs_without_sparse_cells(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    made(tmp_path / "R")
    done = cli("leaderboard", tmp_path / "R", "--out", tmp_path / "board.html")
    assert done.code == 0, done.err
    assert (tmp_path / "board.html").read_text().startswith("<!DOCTYPE html>")
    make_run(blocks=2, backbones=["resnet18/dense"]).write(tmp_path / "dense")
    assert cli("leaderboard", tmp_path / "dense").code == 3


@pytest.mark.parametrize("name", ["quick"])
def test_a_reference_run_can_be_shown(name: str) -> None:
    root = Path(__file__).parents[3] / "results" / "reference" / "amd-epyc-2cpu"
    assert leaderboard([RunFolder.reading(root / name)]).boards
