"""A dense engine that is twice as fast as all others moves every "vs best dense" by two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import sparsebench
from sparsebench.bench.decide import Limits, Request, RunData, advise
from sparsebench.bench.present.decisions.answer_json import advice_json
from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.report.page import html_page
from sparsebench.bench.present.summaries import write_summaries
from tests.bench.comparisons.finding import ACDC, DENSE
from tests.bench.synthetic import SyntheticRun, make_run


def with_rival(run: SyntheticRun, precision: str = "fp32") -> SyntheticRun:
    """The run, and the fastest dense cell of inference again on an engine twice as fast."""
    best = run.record("inference", DENSE, "onnxruntime")
    engine = replace(best.engine, name="planted", precision=precision)
    division = "closed" if precision == "fp32" else "open"
    accuracy = run.record("linear-cached", DENSE, "onnxruntime").accuracy
    planted = replace(best, id="planted", engine=engine, division=division, accuracy=accuracy)
    trials = [
        replace(t, cell="planted", seconds=tuple(s / 2 for s in t.seconds))
        for t in run.trials
        if t.cell == best.id
    ]
    blocks = tuple(replace(t, seconds=tuple(s / 2 for s in t.seconds)) for t in best.trials)
    return SyntheticRun([*run.records, replace(planted, trials=blocks)], [*run.trials, *trials])


def totals(folder: Path, against: str = "best_dense") -> dict[str, float]:
    """Every surface's "vs best dense" of the sparse cell on DeepSparse."""
    run = sparsebench.load(folder)
    (cell,) = [
        r.id
        for r in run.records
        if (r.workload, r.backbone.name, r.engine.name) == ("inference", ACDC, "deepsparse")
    ]
    (compared,) = [c for c in run.comparisons if c.sparse == cell]
    frame = run.to_frame()
    in_frame = dict(zip(frame["record"], frame[f"speedup_{against}"], strict=True))
    report = build_report([folder]).to_json()
    (shown,) = [c for c in report["cells"] if c["record"] == cell]
    compares = compared.total if against == "best_dense" else compared.total_fp32
    assert compares is not None
    advised = advise([RunData.of("run", run.records)], Request(Limits(3.0)))
    (answer,) = (one for one in advice_json(advised)["answers"] if one["workload"] == "inference")
    return {
        "advise": answer[f"over_{against}"]["ratio"]
        if against != "best_dense"
        else answer["take"]["over_best_dense"]["ratio"],
        "comparison": compares.median,
        "frame and summary.csv": in_frame[cell],
        "report": shown[f"speedup_{against}"]["median"],
    }


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return make_run(process=0.001, iteration=0.001, backbones=[DENSE, ACDC])


@pytest.fixture(scope="module")
def before(run: SyntheticRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("without") / "run"
    write_summaries(run.write(folder))
    return totals(folder)


def test_every_surface_takes_the_planted_rival(
    run: SyntheticRun, before: dict[str, float], tmp_path: Path
) -> None:
    write_summaries(with_rival(run).write(tmp_path / "with"))
    after = totals(tmp_path / "with")
    for surface, total in before.items():
        assert after[surface] == pytest.approx(total / 2, rel=0.01), surface


def test_the_best_dense_in_fp32_stands_beside_it_named_on_every_surface(
    run: SyntheticRun, before: dict[str, float], tmp_path: Path
) -> None:
    write_summaries(with_rival(run, "bf16").write(tmp_path / "with"))
    of_all, of_fp32 = totals(tmp_path / "with"), totals(tmp_path / "with", "best_fp32_dense")
    for surface, total in before.items():
        assert of_fp32[surface] == pytest.approx(total, rel=0.01), surface
        assert of_all[surface] == pytest.approx(total / 2, rel=0.01), surface
    best = f"Best fp32 dense: {DENSE} on onnxruntime"
    records = sparsebench.load(tmp_path / "with").records
    tables = (tmp_path / "with" / "summary.md").read_text("utf-8")
    assert f"{best} fp32; {ACDC} on deepsparse fp32 is " in tables
    assert f"{best} fp32; {ACDC} on deepsparse fp32 is " in html_page(
        build_report([tmp_path / "with"])
    )
    advised = advise([RunData.of("run", records)], Request())
    told = [remark for one in advice_json(advised)["answers"] for remark in one.get("remarks", ())]
    assert any(remark.startswith(f"{best}; {ACDC} on deepsparse is ") for remark in told)
