"""Synthetic runs over settings and tasks, for figures that need more than one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots.points import Point, PointSet
from sparsebench.bench.records import Record, TimedBlock
from tests.bench.synthetic import SyntheticRun, make_run

TRAINED = ("resnet18/dense", "resnet18/magnitude-50", "resnet18/acdc-90")
Slower = Callable[[Record], float]


def with_setting(
    run: SyntheticRun, tag: str, slower: Slower = lambda record: 1.0, **engine: Any
) -> SyntheticRun:
    """The run with other engine settings, and with times that are longer by a factor."""
    factors = {record.id: slower(record) for record in run.records}
    trials = [
        replace(
            trial,
            cell=f"{trial.cell}{tag}",
            seconds=tuple(factors[trial.cell] * second for second in trial.seconds),
        )
        for trial in run.trials
    ]
    times: dict[str, list[TimedBlock]] = {}
    for trial in trials:
        times.setdefault(trial.cell, []).append(trial.times)
    records = [
        replace(
            record,
            id=f"{record.id}{tag}",
            engine=replace(record.engine, **engine),
            trials=tuple(times.get(f"{record.id}{tag}", ())),
        )
        for record in run.records
    ]
    return SyntheticRun(records, trials)


def data(run: SyntheticRun, name: str = "") -> RunData:
    """As a figure wants it."""
    return RunData.of(name, run.records, run.trials)


def sweep_of_batch_sizes(sizes: Sequence[int], cliff: float = 1.5) -> list[RunData]:
    """One run a batch size; the sparse ones are slower by a factor off the powers of two."""

    def slower(size: int) -> Slower:
        off = size & (size - 1) != 0
        return lambda record: cliff if off and not record.backbone.is_dense else 1.0

    return [
        data(
            with_setting(
                make_run(seed=size, blocks=4, backbones=TRAINED, engines=["deepsparse"]),
                f"b{size}",
                slower(size),
                batch_size=size,
            )
        )
        for size in sizes
    ]


def thirty_points(engines: int = 1) -> PointSet:
    """Ten methods at three sparsities, with intervals, on a curve that crowds them."""
    points = []
    families = ("progressive", "regularization", "lottery ticket", "structured", "one-shot")
    for engine in range(engines):
        for method in range(10):
            for step, sparsity in enumerate((0.8, 0.9, 0.95)):
                speed = (1.6 + 0.8 * step) * (1 + 0.03 * method) / (1 + engine)
                change = 1.0 - 0.35 * method - 0.8 * step**1.5
                points.append(
                    Point(
                        "inference", "pets", "resnet50", f"method{method}", sparsity,
                        f"engine{engine}", (0.96 * speed, speed, 1.04 * speed),
                        (change - 0.3, change, change + 0.3), families[method % 5],
                    )
                )  # fmt: skip
    return PointSet(tuple(points))
