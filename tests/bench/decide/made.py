"""Runs whose times and accuracies are exactly as written, so that the right answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sparsebench.bench.decide import RunData
from sparsebench.bench.records import Accuracy, Record, TimedBlock
from tests.bench.synthetic import SyntheticRun, make_run

TEMPLATE = make_run(blocks=1, process=0, iteration=0)
SEEDS = (21, 51, 81)
FULL_SECONDS = 30.0


def cell(
    backbone: str,
    engine: str,
    seconds: Sequence[float],
    points: Sequence[float],
    *,
    workload: str = "inference",
    batch_size: int = 64,
    machine: str = "0123456789abcdef",
) -> Record:
    """A record of one sample a block.

    Args:
        backbone: "dense" or "METHOD-PERCENT" of resnet18.
        engine: name.
        seconds: of an image in inference, of the job in training; one a block.
        points: accuracy in per cent, one a seed.
        workload: name.
        batch_size: images of a call.
        machine: fingerprint.
    """
    full = f"resnet18/{backbone}"
    like = "resnet18/dense" if backbone == "dense" else "resnet18/acdc-90"
    kind = "inference" if workload == "inference" else "linear-cached"
    base = TEMPLATE.record(kind, like, "torch")
    items = batch_size if workload == "inference" else 1000
    whole = [one * items if workload == "inference" else one for one in seconds]
    return replace(
        base,
        id=f"{workload}-{backbone}-{engine}-{batch_size}",
        workload=workload,
        backbone=replace(base.backbone, name=full),
        engine=replace(base.engine, name=engine, batch_size=batch_size),
        trials=tuple(
            TimedBlock(block, f"launch-{block}", 0, (), (one,), items, {})
            for block, one in enumerate(whole)
        ),
        accuracy=Accuracy.of("top1", [one / 100 for one in points], SEEDS[: len(points)]),
        machine={"fingerprint": machine},
    )


def run_of(*records: Record, name: str = "runs/made") -> RunData:
    """A run of these records."""
    return RunData.of(name, records)


def folder_of(records: Sequence[Record]) -> SyntheticRun:
    """The same as something that can be written to disk."""
    return SyntheticRun(list(records), [])
