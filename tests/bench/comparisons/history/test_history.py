"""Nightly series with planted changes, false ones, and other machines between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.comparisons.history import Series, change_points
from sparsebench.bench.comparisons.history.changepoints import LEAST_RUNS, _breaks, _welch
from sparsebench.bench.comparisons.history.series import History
from sparsebench.bench.present.plots.history import draw
from sparsebench.bench.present.report.history_page import history_page
from tests.bench.conftest import Result
from tests.bench.gate.changed import TWO, slowed
from tests.bench.synthetic import MACHINE, make_run

Cli = Callable[..., Result]


def series(ratios: list[float], name: str = "cell") -> Series:
    count = len(ratios)
    return Series(
        name, "speedup", tuple(f"n{i:02}" for i in range(count)),
        tuple(f"2026-01-{i + 1:02}" for i in range(count)), tuple(ratios),
        (None,) * count, ("1.0",) * count,
    )  # fmt: skip


def noisy(rng: np.random.Generator, count: int, level: float) -> list[float]:
    return list(level * np.exp(rng.normal(0, 0.012, count)))


def test_a_lasting_change_is_found_where_it_is() -> None:
    rng = np.random.default_rng(0)
    (point,) = change_points([series(noisy(rng, 12, 2.4) + noisy(rng, 8, 2.1))])
    assert point.run == "n12"
    assert point.change == pytest.approx(2.1 / 2.4 - 1, abs=0.02)


def test_noise_a_single_bad_night_and_small_changes_are_none() -> None:
    rng = np.random.default_rng(1)
    quiet = [series(noisy(rng, 20, 3.0), f"cell {i}") for i in range(30)]
    assert change_points(quiet) == []
    one_bad = noisy(rng, 20, 3.0)
    one_bad[9] *= 0.7
    assert change_points([series(one_bad)]) == []
    assert change_points([series(noisy(rng, 10, 3.0) + noisy(rng, 10, 2.95))]) == []
    assert change_points([series([3.0, 3.0, 2.0])]) == []


def test_changes_are_where_other_packages_find_them() -> None:
    import ruptures
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(7)
    changes = 0
    for _ in range(150):
        parts = [noisy(rng, int(rng.integers(1, 30)), rng.choice([2.0, 2.05, 2.4])) for _ in "abc"]
        logs = np.log([ratio for part in parts for ratio in part])
        if logs.size < LEAST_RUNS:
            continue
        sigma = np.median(np.abs(np.diff(logs))) / (0.6745 * np.sqrt(2))
        search = ruptures.Pelt(model="l2", min_size=3, jump=1).fit(logs.reshape(-1, 1))
        edges = _breaks(logs)
        assert edges == search.predict(pen=2 * sigma**2 * np.log(logs.size))
        for start, here, end in zip([0, *edges], edges, edges[1:], strict=False):
            first, second = logs[start:here], logs[here:end]
            expected = ttest_ind(first, second, equal_var=False).pvalue
            assert _welch(first, second) == pytest.approx(expected, rel=1e-9)
            changes += 1
    assert changes > 100


def test_ten_percent_is_found_in_nine_of_ten_series() -> None:
    rng = np.random.default_rng(2)
    found = [change_points([series(noisy(rng, 10, 2) + noisy(rng, 5, 1.8))]) for _ in range(50)]
    assert sum(len(points) == 1 for points in found) >= 45


def test_runs_are_counted_from_one_at_the_same_place_in_every_panel() -> None:
    """Seen: an axis from -0.045 to 0.045 run, and a late run drawn as the first."""
    long, late = series([2.0, 2.1, 2.0], "a"), series([1.0], "b")
    late = replace(late, runs=long.runs[2:], created=long.created[2:])
    history = History("f" * 16, (long, late), ())
    assert history.runs == list(long.runs)
    (figure,) = draw(history, [])
    figure.canvas.draw()
    for axes in [axes for axes in figure.axes if axes.get_title(loc="left")]:
        assert np.asarray(axes.lines[0].get_xdata())[-1] == 3
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
        assert axes.get_xlim() == (0.5, 3.5)


@pytest.mark.parametrize("runs", [LEAST_RUNS - 1, LEAST_RUNS])
def test_few_runs_are_no_all_clear(runs: int) -> None:
    page = history_page(History("f" * 16, (series([2.0] * runs),), ()), [], [])
    assert ("No cell has got worse" in page) == (runs == LEAST_RUNS)
    assert (f"Too few runs to find lasting changes: {runs} of" in page) == (runs < LEAST_RUNS)


def test_the_command_follows_one_machine_and_fails_on_a_worse_level(
    cli: Cli, tmp_path: Path
) -> None:
    for night in range(8):
        run = make_run(
            seed=night, blocks=3, process=0.004, backbones=TWO, engines=["torch"],
            workloads=["inference"],
        )  # fmt: skip
        if night >= 5:
            run = slowed(run, 1.2, lambda r: not r.backbone.is_dense)
        records = [replace(r, created=f"2026-01-0{night + 1}T00:00:00Z") for r in run.records]
        replace(run, records=records).write(tmp_path / f"night-{night}")
    other = make_run(machine={**MACHINE, "fingerprint": "f" * 16}, backbones=TWO)
    other.write(tmp_path / "laptop <b>")

    result = cli("history", tmp_path)
    assert result.code == 1, result.err
    assert "since night-5 (2026-01-06)" in result.out
    assert "laptop <b>: another machine" in result.out
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "history.html").read_text()
    assert "1 cell is at a worse level than before" in page
    assert "night-5 (2026-01-06)" in page and "Left out: " in page
    assert "data:image/svg+xml;base64," in page and "http-equiv" in page and "<script" not in page
    assert "laptop &lt;b&gt;" in page and "<b>: " not in page
    data = json.loads(cli("history", tmp_path, "--json").out)
    (change,) = data["changes"]
    assert change["change"] == pytest.approx(1 / 1.2 - 1, abs=0.02)
    assert cli("history", tmp_path, "--effect", "30%").code == 0


def test_a_folder_without_runs_exits_three(cli: Cli, tmp_path: Path) -> None:
    assert cli("history", tmp_path).code == 3


def test_of_a_first_run_it_is_said_that_it_is_alone(cli: Cli, tmp_path: Path) -> None:
    """It was "No cell of these runs has a ratio to follow", and every cell had one."""
    make_run(backbones=TWO).write(tmp_path / "nightly" / "n00")
    done = cli("history", tmp_path / "nightly")
    assert done.code == 3
    assert "No cell has a ratio in two of these runs or more" in done.err
