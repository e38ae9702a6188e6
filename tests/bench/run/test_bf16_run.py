"""bf16 on native from the command line: features and an accuracy of its own, beside fp32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sparsebench.exporters.engines.native import NativeEngine
from tests.bench.conftest import Result
from tests.bench.run.test_onnx_run import SPARSE, lines, small

pytestmark = pytest.mark.skipif("bf16" not in NativeEngine.precisions, reason="no AVX-512")


def test_bf16_runs_end_to_end_beside_fp32_with_its_own_accuracy(
    tmp_path: Path, images: Path, cli: Callable[..., Result]
) -> None:
    words = [*small(tmp_path, images), "--backbone", SPARSE, "--workload", "linear-cached"]
    words += ["--engine", "native", "--engine", "native:bf16", "--out", str(tmp_path / "R")]
    done = cli(*words)
    assert done.code == 0, done.err
    records = lines(tmp_path / "R/records.jsonl")
    by_kind = {(r["backbone"]["method"], r["engine"]["precision"]): r for r in records}
    assert set(by_kind) == {(m, p) for m in ("dense", "uniform") for p in ("fp32", "bf16")}
    for (_, precision), record in by_kind.items():
        assert record["status"] == "ok", record["reason"]
        assert record["accuracy"]["per_seed"] and record["extra"]["accuracy_from"] is None
        assert record["proof"]["checkpoint_mask"] == record["proof"]["onnx_mask"]
        in_bf16 = precision == "bf16"
        assert record["division"] == ("open" if in_bf16 else "closed")
        described = record["extra"]["engine"]["describe"]
        assert described.get("bf16_layers") == (2 if in_bf16 else None)
        assert (record["proof"]["max_abs_error"] > 1e-5) == in_bf16  # these are other features
