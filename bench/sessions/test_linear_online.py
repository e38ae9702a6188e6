"""Linear fine-tuning that augments and extracts in every epoch, as the paper timed it."""

from __future__ import annotations

from pathlib import Path

from pytest_sparsebench import SparseBenchmark


def test_linear_online(
    backbone: str, engine: str, task: str, measured: Path, sparse_benchmark: SparseBenchmark
) -> None:
    sparse_benchmark.from_run(
        measured, backbone=backbone, engine=engine, workload="linear-online", task=task
    )
