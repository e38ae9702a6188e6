"""Two runs, or two cells of a run, set against each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.comparisons import (
    compare_folders,
    compare_within,
)
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError
from tests.bench.comparisons.finding import ACDC, DENSE
from tests.bench.synthetic import (
    ENGINES,
    MACHINE,
    SyntheticRun,
    make_run,
)


def test_two_runs_are_compared_by_their_speedups(tmp_path: Path) -> None:
    """The second run's machine is half as fast today; its speed-ups are the same."""
    slow = make_run(seed=2)
    trials = [replace(t, seconds=tuple(2 * s for s in t.seconds)) for t in slow.trials]
    first = make_run(seed=1).write(tmp_path / "a")
    second = SyntheticRun(slow.records, trials).write(tmp_path / "b")
    result = compare_folders(first, second)
    assert (result.a, result.b, result.of) == ("a", "b", "speed-ups")
    assert len(result.cells) == 24
    sparse = [cell for cell in result.cells if cell.ratio is not None]
    assert len(sparse) == 18
    holds = [c.ratio.ci95[0] <= 1 <= c.ratio.ci95[1] for c in sparse if c.ratio and c.ratio.ci95]
    assert sum(holds) >= 16
    assert all(c.verdict in ("inconclusive", "tied") for c in sparse[:3])
    changes = [c.accuracy_change.mean for c in sparse if c.accuracy_change]
    assert changes == pytest.approx([0] * 12)  # the generated ones have no accuracy to compare
    assert result.to_json()["cells"][0]["status"] == "ok"


def test_change_of_speedup_between_runs_is_seen(tmp_path: Path) -> None:
    run = make_run(seed=1)
    cell = run.record("inference", ACDC, "deepsparse").id
    trials = [
        replace(t, seconds=tuple(s / 2 for s in t.seconds)) if t.cell == cell else t
        for t in make_run(seed=3).trials
    ]
    a, b = run.write(tmp_path / "a"), SyntheticRun(run.records, trials).write(tmp_path / "b")
    changed = {c.cell: c for c in compare_folders(a, b).cells}[f"{ACDC} on deepsparse (inference)"]
    assert changed.ratio is not None and changed.ratio.median == pytest.approx(2, rel=0.1)
    assert changed.verdict == "better"


def test_runs_of_different_machines_are_refused_unless_asked_for(tmp_path: Path) -> None:
    a = make_run(blocks=2).write(tmp_path / "a")
    b = make_run(blocks=2, machine={**MACHINE, "fingerprint": "other"}).write(tmp_path / "b")
    with pytest.raises(SparsebenchError, match=r"machine\.fingerprint") as refusal:
        compare_folders(a, b)
    assert refusal.value.exit_code == 2
    result = compare_folders(a, b, across_machines=True)
    assert any("different machines" in note for note in result.notes)


def test_cells_of_one_run_only_are_named(tmp_path: Path) -> None:
    a = make_run(blocks=2, engines=ENGINES[:2]).write(tmp_path / "a")
    b = make_run(blocks=2, engines=ENGINES[1:]).write(tmp_path / "b")
    result = compare_folders(a, b)
    assert len(result.only_a) == len(result.only_b) == 8
    assert f"{ACDC} on deepsparse (inference)" in result.only_a


def test_runs_without_a_common_cell_measure_nothing(tmp_path: Path) -> None:
    a = make_run(blocks=2, engines=("torch",)).write(tmp_path / "a")
    b = make_run(blocks=2, engines=("torch",), threads=8).write(tmp_path / "b")
    with pytest.raises(NothingMeasuredError):
        compare_folders(a, b)


def test_two_backbones_of_a_run_are_compared_engine_by_engine(tmp_path: Path) -> None:
    folder = make_run().write(tmp_path / "a")
    result = compare_within(folder, "resnet18/magnitude-50", ACDC)
    assert len(result.cells) == 6
    first = result.cells[0]
    assert first.ratio is not None and first.ratio.median == pytest.approx(4 / 1.3, rel=0.1)
    assert first.verdict == "better"
    assert first.accuracy_change is not None and first.accuracy_change.mean > 0


def test_two_records_of_a_run_may_differ_in_their_engine(tmp_path: Path) -> None:
    run = make_run()
    folder = run.write(tmp_path / "a")
    a = run.record("inference", DENSE, "torch").id
    b = run.record("inference", DENSE, "onnxruntime").id
    result = compare_within(folder, a, b)
    assert len(result.cells) == 1
    ratio = result.cells[0].ratio
    assert ratio is not None and ratio.median == pytest.approx(1.6, rel=0.1)
    inference = run.record("inference", DENSE, "torch").id
    training = run.record("linear-cached", DENSE, "torch").id
    with pytest.raises(SparsebenchError, match="workload"):
        compare_within(folder, inference, training)


def test_unknown_side_offers_near_names(tmp_path: Path) -> None:
    folder = make_run(blocks=2).write(tmp_path / "a")
    with pytest.raises(UnknownNameError, match="resnet18/acdc-90"):
        compare_within(folder, "resnet18/acdc-9", DENSE)


def test_failed_cell_in_one_run_is_shown_with_its_reason(tmp_path: Path) -> None:
    a = make_run(blocks=2).write(tmp_path / "a")
    b = make_run(blocks=2, failed={("inference", ACDC, "torch")}).write(tmp_path / "b")
    cells = {cell.cell: cell for cell in compare_folders(a, b).cells}
    failed = cells[f"{ACDC} on torch (inference)"]
    assert failed.status == "failed" and "B: The worker ended" in str(failed.reason)
