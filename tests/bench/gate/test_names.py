"""A gate's tables tell every cell apart, whatever the cells of a run differ in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sparsebench.results
from sparsebench.bench.comparisons.gated_ratios import KEY
from sparsebench.bench.gate import Settings, baseline_of, check_run
from sparsebench.bench.gate.words import line_of
from sparsebench.bench.records import RunFolder
from tests.bench.synthetic import make_run

RACED = Path(sparsebench.results.__path__[0]) / "reference/amd-epyc-2cpu/quick-native-int8"


def check_names(folder: RunFolder) -> set[str]:
    """No two cells of a workload and task are called the same; returns what they are called."""
    baseline = baseline_of(folder, "first").baseline
    report = check_run(folder, baseline, Settings(across_machines=True))
    names = Counter(verdict.name for verdict in report.verdicts)
    assert set(names.values()) == {1}, names.most_common(3)
    lines = {(*verdict.key.values(), line_of(verdict).short) for verdict in report.verdicts}
    shorts = Counter((line[:2], line[len(KEY) :]) for line in lines)
    assert set(shorts.values()) == {1}, shorts.most_common(3)
    return set(names)


def test_precisions_of_an_engine_are_told_apart() -> None:
    """Seen: "resnet18/gmp_uniform-90 on native" in two lines, 4.58 and 2.17 times as fast."""
    names = check_names(RunFolder.reading(RACED))
    assert "inference · digits · resnet18/gmp_uniform-90 · native int8" in names
    assert "inference · digits · resnet18/gmp_uniform-90 · native" in names


@pytest.mark.parametrize(
    ("setting", "values", "end"),
    [("batch_size", (1, 16), "torch, batch 16"), ("threads", (1, 2), "torch, 2 threads")],
)
def test_cells_of_a_sweep_are_told_apart(
    setting: str, values: tuple[int, int], end: str, tmp_path: Path
) -> None:
    records, trials = [], []
    for value in values:
        run = make_run(blocks=3, engines=["torch", "deepsparse"])
        for record in run.records:
            changed: dict[str, Any] = {setting: value}
            engine = replace(record.engine, **changed)
            records.append(replace(record, id=f"{record.id}-{value}", engine=engine))
        trials += [replace(trial, cell=f"{trial.cell}-{value}") for trial in run.trials]
    swept = replace(run, records=records, trials=trials).write(tmp_path / "R")
    assert any(name.endswith(end) for name in check_names(swept))
