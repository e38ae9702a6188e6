"""A dense engine that is twice as fast as all others moves every "vs best dense" by two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sparsebench
from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.summaries import write_summaries
from tests.bench.comparisons.finding import ACDC, DENSE
from tests.bench.synthetic import SyntheticRun, make_run


def with_rival(run: SyntheticRun) -> SyntheticRun:
    """The run, and the fastest dense cell of inference again on an engine twice as fast."""
    best = run.record("inference", DENSE, "onnxruntime")
    planted = replace(best, id="planted", engine=replace(best.engine, name="planted"))
    trials = [
        replace(t, cell="planted", seconds=tuple(s / 2 for s in t.seconds))
        for t in run.trials
        if t.cell == best.id
    ]
    blocks = tuple(replace(t, seconds=tuple(s / 2 for s in t.seconds)) for t in best.trials)
    return SyntheticRun([*run.records, replace(planted, trials=blocks)], [*run.trials, *trials])


def totals(folder: Path) -> dict[str, float]:
    """Every surface's "vs best dense" of the sparse cell on DeepSparse."""
    run = sparsebench.load(folder)
    (cell,) = [
        r.id
        for r in run.records
        if (r.workload, r.backbone.name, r.engine.name) == ("inference", ACDC, "deepsparse")
    ]
    (compared,) = [c for c in run.comparisons if c.sparse == cell]
    frame = run.to_frame()
    in_frame = dict(zip(frame["record"], frame["speedup_best_dense"], strict=True))
    report = build_report([folder]).to_json()
    (shown,) = [c for c in report["cells"] if c["record"] == cell]
    assert compared.total is not None
    return {
        "comparison": compared.total.median,
        "frame and summary.csv": in_frame[cell],
        "report": shown["speedup_best_dense"]["median"],
    }


def test_every_surface_takes_the_planted_rival(tmp_path: Path) -> None:
    run = make_run(process=0.001, iteration=0.001, backbones=[DENSE, ACDC])
    write_summaries(run.write(tmp_path / "without"))
    write_summaries(with_rival(run).write(tmp_path / "with"))
    before, after = totals(tmp_path / "without"), totals(tmp_path / "with")
    for surface, total in before.items():
        assert after[surface] == pytest.approx(total / 2, rel=0.01), surface
