"""Inference: seconds of an engine call on a full batch of real images."""

from __future__ import annotations

from pathlib import Path

from pytest_sparsebench import SparseBenchmark


def test_inference(
    backbone: str, engine: str, task: str, measured: Path, sparse_benchmark: SparseBenchmark
) -> None:
    sparse_benchmark.from_run(
        measured, backbone=backbone, engine=engine, workload="inference", task=task
    )
