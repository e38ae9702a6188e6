"""What theory allows a speed-up to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.comparisons import (
    compare_run,
)
from sparsebench.bench.records import ENGINE_IMAGES, Comparison, RunFolder
from tests.bench.comparisons.finding import ACDC, DENSE, of
from tests.bench.synthetic import (
    FLOPS_RATIO,
    IMAGES,
    OTHER_STAGES,
    SyntheticRun,
    make_run,
    true_seconds,
)

REFERENCE = Path(__file__).parents[3] / "results/reference"
RUNS = sorted(path.parent for path in REFERENCE.glob("*/*/records.jsonl"))


def test_bound_of_inference_is_the_flops_ratio(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    comparison = of(run, compared, "inference", ACDC, "deepsparse")
    assert comparison.amdahl_bound == pytest.approx(1 / FLOPS_RATIO[ACDC])
    assert comparison.speedup is not None
    assert comparison.efficiency == pytest.approx(comparison.speedup.median * FLOPS_RATIO[ACDC])


def test_bound_of_linear_cached_is_amdahls_with_the_measured_extraction(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    """(E + rest) / (E/s + rest), with s as the run's inference has measured it."""
    extract = true_seconds("inference", DENSE, "deepsparse") * IMAGES
    rest = sum(OTHER_STAGES.values())
    measured = of(run, compared, "inference", ACDC, "deepsparse").speedup
    assert measured is not None
    expected = (extract + rest) / (extract / measured.median + rest)
    comparison = of(run, compared, "linear-cached", ACDC, "deepsparse")
    assert comparison.amdahl_bound == pytest.approx(expected, rel=1e-6)
    assert comparison.bound_from == "inference"


@pytest.mark.parametrize("hidden", ["decode", "evaluate"])
def test_bound_counts_the_engines_own_work_wherever_it_was_charged(hidden: str) -> None:
    """Half of the engine's work in `evaluate` counts; a wait for the decoder does too.

    Whether `extract` waits for a decoder or for an engine that decoders slow down cannot be told,
    so the bound allows both: it is never exceeded.
    """
    run = make_run(process=0, iteration=0)
    trials = []
    for trial in run.trials:
        if trial.workload == "linear-cached":
            stages = dict(trial.stages)
            if hidden == "decode":
                stages["extract"] += stages.pop("decode")
            else:
                stages["evaluate"] += stages["extract"] / 2
                stages["extract"] /= 2
            trial = replace(trial, stages=stages, extra={ENGINE_IMAGES: IMAGES})
        trials.append(trial)
    compared = compare_run(run.records, trials)
    extract = true_seconds("inference", DENSE, "deepsparse") * IMAGES
    rest = sum(OTHER_STAGES.values())
    measured = of(run, compared, "inference", ACDC, "deepsparse").speedup
    assert measured is not None
    comparison = of(run, compared, "linear-cached", ACDC, "deepsparse")
    waits = extract + (OTHER_STAGES["decode"] if hidden == "decode" else 0)
    whole = extract + rest
    expected = whole / (waits / measured.median + whole - waits)
    assert comparison.amdahl_bound == pytest.approx(expected, rel=1e-6)
    assert comparison.efficiency is not None and comparison.efficiency <= 1.02


def test_bound_of_linear_cached_without_inference_uses_flops() -> None:
    run = make_run(workloads=("linear-cached",))
    extract = true_seconds("inference", DENSE, "deepsparse") * IMAGES
    rest = sum(OTHER_STAGES.values())
    comparison = of(run, compare_run(run.records), "linear-cached", ACDC, "deepsparse")
    expected = (extract + rest) / (extract * FLOPS_RATIO[ACDC] + rest)
    assert comparison.amdahl_bound == pytest.approx(expected, rel=1e-6)
    assert comparison.bound_from == "flops"


def test_unknown_bound_says_why(run: SyntheticRun) -> None:
    record = run.record("inference", ACDC, "deepsparse")
    blind = run.replaced(record, backbone=replace(record.backbone, flops_ratio=None))
    comparison = of(blind, compare_run(blind.records), "inference", ACDC, "deepsparse")
    assert comparison.amdahl_bound is None and comparison.efficiency is None
    assert any(note.startswith("No bound") for note in comparison.notes)


def test_bound_of_full_counts_the_arithmetic_of_its_steps() -> None:
    """Forward and backward together take the place of the extraction; zeros speed up both."""
    cached = make_run(workloads=("linear-cached",))
    records = []
    for record in cached.records:
        blocks = []
        for block in record.trials:
            stages = dict(block.stages)
            step = stages.pop("extract")
            stages |= {"forward": step / 3, "backward": step * 2 / 3}
            blocks.append(replace(block, stages=stages))
        records.append(replace(record, workload="full", trials=tuple(blocks)))
    step = true_seconds("inference", DENSE, "torch") * IMAGES
    rest = sum(OTHER_STAGES.values())
    sparse = next(r for r in records if r.backbone.name == ACDC and r.engine.name == "torch")
    comparison = next(c for c in compare_run(records) if c.sparse == sparse.id)
    expected = (step + rest) / (step * FLOPS_RATIO[ACDC] + rest)
    assert comparison.amdahl_bound == pytest.approx(expected, rel=1e-6)
    assert comparison.bound_from == "flops"
    assert not any(note.startswith("No bound") for note in comparison.notes)


def test_inference_on_another_folder_of_the_same_name_is_no_measured_extraction() -> None:
    run = make_run()
    records = [
        replace(r, task=replace(r.task, sha256=("a" if r.workload == "inference" else "b") * 64))
        for r in run.records
    ]
    compared = compare_run(records, run.trials)
    comparison = of(run, compared, "linear-cached", ACDC, "deepsparse")
    assert comparison.bound_from == "flops"


@pytest.mark.parametrize("reference", RUNS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_no_reference_run_exceeds_its_bound_outside_its_interval(reference: Path) -> None:
    """Seen: all six cells of linear-online of one run lay above theirs, by up to 17 %."""
    folder = RunFolder.reading(reference)
    for comparison in compare_run(folder.records(), folder.trials()):
        if comparison.speedup is not None and comparison.amdahl_bound is not None:
            low = comparison.speedup.ci95[0] if comparison.speedup.ci95 else 0.0
            assert low <= comparison.amdahl_bound, comparison


def test_bound_of_linear_online_counts_the_engine_in_the_evaluation() -> None:
    """Closed form: `extract` and `evaluate` wait for the engine, the rest does not."""
    cached = make_run(workloads=("linear-cached",), process=0, iteration=0)
    records = [replace(record, workload="linear-online") for record in cached.records]
    engine = true_seconds("inference", DENSE, "deepsparse") * IMAGES + OTHER_STAGES["evaluate"]
    rest = sum(OTHER_STAGES.values()) - OTHER_STAGES["evaluate"]
    sparse = next(r for r in records if r.backbone.name == ACDC and r.engine.name == "deepsparse")
    comparison = next(c for c in compare_run(records) if c.sparse == sparse.id)
    expected = (engine + rest) / (engine * FLOPS_RATIO[ACDC] + rest)
    assert comparison.amdahl_bound == pytest.approx(expected, rel=1e-6)
