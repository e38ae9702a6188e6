"""Linear fine-tuning on features that are extracted once, end to end."""

from __future__ import annotations

from pathlib import Path

from pytest_sparsebench import SparseBenchmark


def test_linear_cached(
    backbone: str, engine: str, task: str, measured: Path, sparse_benchmark: SparseBenchmark
) -> None:
    sparse_benchmark.from_run(
        measured, backbone=backbone, engine=engine, workload="linear-cached", task=task
    )
