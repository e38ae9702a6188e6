"""Time to target, misses and break-even, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sparsebench.bench.comparisons.training import break_even, training_comparison
from sparsebench.bench.records import BackboneInfo, EngineInfo, Record, TaskInfo, TimedBlock


def record(name: str, workload: str, stages: dict[str, float], **more: Any) -> Record:
    method = name.split("/")[1]
    block = TimedBlock(0, "a", 0, (), (sum(stages.values()),), 1, stages)
    return Record(
        id=f"{name}-{workload}",
        run="R",
        created="2026-01-01T00:00:00Z",
        workload=workload,
        task=TaskInfo("t"),
        backbone=BackboneInfo(name, "resnet18", method, "f", 0.9, True),
        engine=EngineInfo("torch", "cpu", "fp32", 1, 64),
        machine={},
        trials=(block,),
        **more,
    )


def curves(*ends: list[float]) -> dict[str, Any]:
    """Epochs of 10 s each with these validation accuracies, one list a seed."""
    return {
        "curves": {
            str(seed): [[10.0 * (i + 1), 1.0, v] for i, v in enumerate(values)]
            for seed, values in enumerate(ends)
        }
    }


def test_the_target_is_the_dense_mean_minus_the_margin_and_misses_are_infinite() -> None:
    settings = {"target_margin": 1.0}
    dense = record(
        "resnet18/dense", "full", {"forward": 30.0}, settings=settings,
        extra=curves([0.5, 0.79, 0.80], [0.5, 0.81, 0.82]),
    )  # fmt: skip
    sparse = record(
        "resnet18/gmp-90", "full", {"forward": 30.0}, settings=settings,
        extra=curves([0.81, 0.9, 0.9], [0.7, 0.7, 0.7], [0.1, 0.80, 0.7]),
    )  # fmt: skip
    told = training_comparison(sparse, dense, [sparse, dense])
    assert told is not None
    assert told["target"] == pytest.approx(0.80)
    # Dense reaches 0.80 after epochs 3 and 2: median of 30 and 20 s. Sparse: 10 s, never, 20 s.
    assert told["seconds_to_target"] == {"dense": 25.0, "sparse": 20.0}
    assert told["missed"] == {"dense": 0, "sparse": 1}
    assert told["to_target_ratio"] == pytest.approx(1.25)
    assert told["epochs"] == 3 and told["seconds_per_epoch"] == {"dense": 10.0, "sparse": 10.0}
    most_miss = replace(sparse, extra=curves([0.1], [0.2], [0.9]))
    told = training_comparison(most_miss, dense, [])
    assert told is not None
    assert told["seconds_to_target"]["sparse"] is None and told["to_target_ratio"] is None


def test_without_validation_there_is_no_target() -> None:
    one = record("resnet18/dense", "full", {"forward": 9.0})
    two = replace(one, extra={"curves": {"1": [[9.0, 1.0, None]]}})
    told = training_comparison(two, two, [])
    assert told is not None and "target" not in told
    assert training_comparison(one, one, []) is None


def test_break_even_of_online_and_cached() -> None:
    # Online: 1 s decoding, 2 epochs of 4 s, evaluation (2 + 1 passes) 3 s.
    online = record(
        "resnet18/dense",
        "linear-online",
        {"decode": 1.0, "augment": 1.0, "extract": 6.0, "head": 1.0, "evaluate": 3.0},
        extra=curves([0.5, 0.5]),
    )
    # Cached: 20 s once; five heads of 100 epochs take 50 s: 0.1 s an epoch and seed.
    cached = record(
        "resnet18/dense",
        "linear-cached",
        {"decode": 4.0, "extract": 15.0, "evaluate": 1.0, "head": 50.0},
        settings={"seeds": [1, 2, 3, 4, 5], "epochs": 100},
    )
    # 1 + 1 + N * 4 >= 20 + N * 0.1 from N = 18 / 3.9 = 4.6 on.
    assert break_even(online, [online, cached]) == 5
    assert break_even(online, [online]) is None
    assert break_even(cached, [online, cached]) is None


def test_break_even_is_not_taken_against_another_folder_of_the_same_name() -> None:
    online = record(
        "resnet18/dense", "linear-online",
        {"decode": 1.0, "augment": 1.0, "extract": 6.0, "head": 1.0, "evaluate": 3.0},
        extra=curves([0.5, 0.5]),
    )  # fmt: skip
    cached = record(
        "resnet18/dense", "linear-cached",
        {"decode": 4.0, "extract": 15.0, "evaluate": 1.0, "head": 50.0},
        settings={"seeds": [1], "epochs": 100},
    )  # fmt: skip
    online = replace(online, task=TaskInfo("pics", sha256="a" * 64))
    other = replace(cached, task=TaskInfo("pics", sha256="b" * 64))
    assert break_even(online, [online, other]) is None
    assert break_even(online, [other, online, replace(other, task=online.task)]) is not None
