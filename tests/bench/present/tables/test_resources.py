"""Latency, memory, disk and energy: in the tables, the files, the report and the advice."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.comparisons.latency import latency_json
from sparsebench.bench.machine.energy import JOULES
from sparsebench.bench.present.tables import sections, summary_csv
from sparsebench.bench.present.tables.printed import terminal_tables
from sparsebench.bench.records import MODEL_BYTES, PEAK_MEMORY, Record
from tests.bench.conftest import Result
from tests.bench.present.tables.test_tables import printed
from tests.bench.synthetic import SyntheticRun, make_run

EXTRA = {
    PEAK_MEMORY: 512_000_000,
    MODEL_BYTES: {"dense": 44_700_000, "sparse": 6_120_000, "compressed": 5_340_000},
    JOULES: [0.031, 0.029, None],
}


def single() -> SyntheticRun:
    """Inference at batch size 1: 3 blocks of 30 calls."""
    run = make_run(blocks=3, backbones=["resnet18/dense", "resnet18/acdc-90"], engines=["torch"],
                   workloads=["inference"])  # fmt: skip
    records = [
        replace(record, engine=replace(record.engine, batch_size=1), extra=EXTRA)
        for record in run.records
    ]
    return SyntheticRun(records, run.trials)


RUN = single()
TABLES = sections(RUN.records, RUN.trials, compare_run(RUN.records, RUN.trials))
SPARSE = RUN.record("inference", "resnet18/acdc-90", "torch")


def calls(record: Record) -> np.ndarray:
    return np.concatenate([trial.seconds for trial in record.trials])


def test_a_record_tells_the_quantiles_that_its_calls_support() -> None:
    told = latency_json(SPARSE)
    assert told is not None and told["calls"] == 90
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        expected = np.quantile(calls(SPARSE), share, method="inverted_cdf")
        assert told[name]["seconds"] == pytest.approx(expected)
        low, high = told[name]["ci95"]
        assert low < expected < high
    assert told["p99"] is None  # 90 calls bound no p99


def test_a_batch_is_no_request() -> None:
    batched = replace(SPARSE, engine=replace(SPARSE.engine, batch_size=64))
    assert latency_json(batched) is None


def test_terminal_and_summary_show_latency_in_milliseconds() -> None:
    text = printed(terminal_tables(TABLES, RUN.records), 120)
    middle = np.quantile(calls(SPARSE), 0.5, method="inverted_cdf") * 1e3
    assert "p50 ms" in text and f"{middle:.3g} (" in text
    assert "p99 ms" not in text  # nobody has enough calls
    summary = RUN.markdown()
    assert "| p90 ms |" in summary and "| p99 ms |" not in summary and f"{middle:.3g} (" in summary
    assert "| 512 | 44.7 | 6.12 | 5.34 | 0.0300 |" in summary


def test_energy_that_cannot_be_read_is_said() -> None:
    records = [replace(r, extra={**EXTRA, JOULES: [None, None, None]}) for r in RUN.records]
    summary = SyntheticRun(records, RUN.trials).markdown()
    assert "| 512 | 44.7 | 6.12 | 5.34 |\n" in summary and "J/image" not in summary
    assert "Energy is not readable on this machine." in summary
    assert "not readable" in SyntheticRun([RUN.records[0], *records[1:]], RUN.trials).markdown()


def test_csv_has_a_column_for_each() -> None:
    rows = list(csv.DictReader(io.StringIO(summary_csv(TABLES))))
    (row,) = [row for row in rows if row["backbone"] == "resnet18/acdc-90"]
    assert float(row["peak_memory_bytes"]) == 512e6
    assert float(row["model_bytes_sparse"]) == 6.12e6
    assert float(row["energy_joules_per_image"]) == pytest.approx(0.03)
    low, mid, high = (float(row[f"latency_p90_seconds{end}"]) for end in ("_low", "", "_high"))
    assert low <= mid <= high and row["latency_p99_seconds"] == ""


def test_the_report_and_the_advice_carry_them(tmp_path: Path, cli: Callable[..., Result]) -> None:
    RUN.write(tmp_path / "R")
    told = cli("report", tmp_path / "R", "--out", tmp_path / "r.md", "--json")
    assert told.code == 0, told.err
    (cell,) = [c for c in json.loads(told.out)["cells"] if c["backbone"] == "resnet18/acdc-90"]
    assert cell["resources"]["peak_memory_bytes"] == 512_000_000
    assert cell["latency"]["p50"]["ci95"][0] <= cell["latency"]["p50"]["seconds"]
    assert cell["training"] is None
    assert "latency: inference on digits" in (tmp_path / "r.md").read_text()
