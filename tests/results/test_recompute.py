"""A run's points and intervals, worked out again by a script that shares no code with the suite."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.records import RunFolder
from sparsebench.results.scripts import recompute as script
from sparsebench.results.scripts import redrawn
from tests.bench.outcomes import write_with_outcomes
from tests.bench.statistics.crossed_model import Model
from tests.bench.synthetic import make_run

REFERENCE = Path(__file__).parents[2] / "results/reference"
RUNS = sorted(path.parent for path in REFERENCE.glob("*/*/records.jsonl"))
TWO = ("resnet18/dense", "resnet18/acdc-90")


def test_the_script_imports_nothing_of_the_suite() -> None:
    nodes = [node for one in (script, redrawn)
             for node in ast.walk(ast.parse(Path(str(one.__file__)).read_text()))]  # fmt: skip
    names = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    names -= {redrawn.__name__}
    assert {name.partition(".")[0] for name in names} <= {
        "__future__", "collections", "dataclasses", "json", "math", "numpy", "pathlib", "scipy",
        "sys", "typing",
    }  # fmt: skip


@pytest.mark.parametrize("metric", ["top1", "mean_per_class"])
def test_points_and_intervals_of_a_synthetic_run(tmp_path: Path, metric: str) -> None:
    labels = np.repeat(np.arange(12), [5] * 6 + [55] * 6)
    model = Model(0.88, 0.91, seeds=0.3)
    run = make_run(backbones=TWO, engines=["torch"])
    folder = write_with_outcomes(run, tmp_path / "R", model, metric=metric, labels=labels)
    compared = compare_run(folder.records(), folder.trials())
    with RunFolder.open(folder.path, resume=True) as writable:
        writable.replace_comparisons(compared)
    found = list(script.recompute(folder.path))
    assert [one.name.rpartition(": ")[2] for one in found] == ["speed-up", "speed-up", "change"]
    for number in found:
        assert number.agrees, number
    assert found[-1].ends is not None and found[-1].ends[1] - found[-1].ends[0] > 1


def test_only_the_rounding_of_single_precision_is_let_pass() -> None:
    scores = np.array([71.0307, 69.99998], np.float32)
    exact = 71.0307 - 69.99998
    kept = float(scores[0]) - float(scores[1])
    assert not script.Number("change", exact, None, kept, None).agrees
    rounding = script.SINGLE_PRECISION
    assert script.Number("change", exact, None, kept, None, rounding=rounding).agrees
    assert not script.Number("change", exact, None, kept + 2e-5, None, rounding=rounding).agrees


@pytest.mark.parametrize("reference", RUNS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_points_and_intervals_of_the_reference_runs(reference: Path, tmp_path: Path) -> None:
    for name in ("records.jsonl", "trials.jsonl"):
        shutil.copy(reference / name, tmp_path)
    if (reference / "correct").is_dir():
        shutil.copytree(reference / "correct", tmp_path / "correct")
    read = RunFolder.reading(tmp_path)
    compared = compare_run(read.records(), read.trials())
    for one in compared:  # the bound bounds: its efficiency is at most 1, within the interval
        if one.amdahl_bound is not None and one.speedup is not None and one.speedup.ci95:
            assert one.speedup.ci95[0] <= one.amdahl_bound, one
    with RunFolder.open(tmp_path, resume=True) as folder:
        folder.replace_comparisons(compared)
    for number in script.recompute(tmp_path):
        assert number.agrees, number
