"""Full fine-tuning: all non-zero weights train, the mask stays fixed."""

from __future__ import annotations

from pathlib import Path

from pytest_sparsebench import SparseBenchmark


def test_full(
    backbone: str, engine: str, task: str, measured: Path, sparse_benchmark: SparseBenchmark
) -> None:
    sparse_benchmark.from_run(
        measured, backbone=backbone, engine=engine, workload="full", task=task
    )
