"""What is told of every trained cell: seeds, epochs, memory, heads; dense-only runs too."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.report.contents import more_tables
from sparsebench.bench.present.tables import (
    sections,
    summary_csv,
    terminal_tables,
)
from sparsebench.bench.present.tables.rows import Section
from sparsebench.bench.present.tables.training import training_table
from sparsebench.bench.records import Accuracy, Record, Trial
from sparsebench.bench.training.training_facts import training_facts
from tests.bench.conftest import Result
from tests.bench.synthetic import SyntheticRun, make_run

DENSE, SPARSE = "resnet18/dense", "resnet18/acdc-90"
# Validation accuracy after three epochs of 10 s, for each of three seeds.
ENDS = {
    DENSE: ((0.5, 0.82, 0.80), (0.5, 0.795, 0.80), (0.5, 0.7, 0.80)),
    SPARSE: ((0.1, 0.2, 0.8), (0.1, 0.3, 0.3), (0.1, 0.4, 0.2)),
}


def trained(record: Record) -> Record:
    """The record as one of `full` with these curves and a batch in two pieces."""
    ends = ENDS[record.backbone.name]
    curves = {
        str(seed): [[10.0 * (n + 1), 1.0, value] for n, value in enumerate(values)]
        for seed, values in zip((21, 51, 81), ends, strict=True)
    }
    assert record.accuracy is not None
    accuracy = Accuracy.of("top1", record.accuracy.per_seed, (21, 51, 81), (0.7, 0.8, 0.9))
    extra: dict[str, Any] = {"curves": curves, "peak_memory_bytes": 1_520_000_000}
    if record.backbone.name == SPARSE:
        extra |= {"execution": {"accumulate": 2}, "accumulated_after_out_of_memory": 2}
    settings = {**record.settings, "target_margin": 1.0}
    return replace(record, workload="full", accuracy=accuracy, extra=extra, settings=settings)


def run_of(*backbones: str) -> SyntheticRun:
    made = make_run(
        blocks=3, backbones=backbones, engines=["torch"], workloads=["linear-cached"], process=0.0
    )
    trials = [replace(trial, workload="full") for trial in made.trials]
    return SyntheticRun([trained(record) for record in made.records], trials)


def section_of(run: SyntheticRun) -> Section:
    (section,) = sections(run.records, run.trials, compare_run(run.records, run.trials))
    return section


def cells_of(section: Section) -> list[tuple[str, ...]]:
    table = training_table(section)
    assert table is not None
    return [tuple(entry.text for entry in line.entries) for line in table.lines]


def test_a_run_of_dense_networks_alone_has_its_training_table() -> None:
    (cells,) = cells_of(section_of(run_of(DENSE)))
    # The target is 80 % - 1: reached after 20, 20 and 30 s.
    assert cells == (DENSE, "torch", "10", "20", "0 of 3", "dense", "–", "baseline")


def test_which_seeds_missed_best_epochs_and_memory() -> None:
    run = run_of(DENSE, SPARSE)
    section = section_of(run)
    assert [cells[3:5] for cells in cells_of(section)] == [
        ("20", "0 of 3"), ("∞", "2 of 3"),
    ]  # fmt: skip
    text = run.markdown()
    rows = [line for line in text.splitlines() if line.startswith(f"| {SPARSE} |")]
    rows = [line for line in rows if " GB |" in line]
    cells = [cell.strip() for cell in rows[-1].strip("|").split("|")]
    # Best on validation: epochs 3, 2 (the earlier of two equal ones) and 2.
    assert cells[3].startswith("80.0 ±")
    assert cells[4:] == ["2 (2–3)", "51, 81", "1.52 GB", "2, out of memory"]
    assert f"again with every batch in pieces: {SPARSE} on torch (2 pieces)." in text


def test_the_terminal_keeps_names_whole_in_80_columns() -> None:
    run = run_of(DENSE, SPARSE)
    console = Console(width=80, file=io.StringIO())
    for renderable in terminal_tables([section_of(run)], run.records):
        console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80 and not any("break-even" in line for line in lines)
    assert any(line.split()[:2] == [SPARSE, "torch"] and "2 of 3" in line for line in lines)


def test_csv_and_json_have_them_too(tmp_path: Path, cli: Callable[..., Result]) -> None:
    run = run_of(DENSE, SPARSE)
    table = pd.read_csv(io.StringIO(summary_csv([section_of(run)])))
    dense, sparse = (table[table.backbone == name].iloc[0] for name in (DENSE, SPARSE))
    assert (dense.seconds_per_epoch, dense.seconds_to_target, dense.best_epoch) == (10.0, 20.0, 3)
    assert sparse.seconds_to_target == float("inf") and sparse.missed_seeds == "51 81"
    assert sparse.target_percent == pytest.approx(79) and sparse.trained_seeds == 3
    assert sparse.accuracy_best_epoch_percent == pytest.approx(80)
    assert sparse.accumulated_after_out_of_memory == 2 and sparse.peak_memory_bytes == 1.52e9
    path = run.write(tmp_path / "run").path
    printed = cli("report", path, "--json").out
    assert "Infinity" not in printed
    told = {cell["backbone"]: cell["training"] for cell in json.loads(printed)["cells"]}
    assert told[SPARSE]["missed_seeds"] == [51, 81] and told[DENSE]["missed_seeds"] == []
    assert told[SPARSE]["seconds_to_target"] is None
    grids = {grid.title.split(":")[0]: grid for grid in more_tables(build_report([path]))}
    assert len(grids["details of the training"].lines) == 2


def test_running_out_of_memory_in_any_block_stays_in_the_record() -> None:
    def trial(block: int, **extra: Any) -> Trial:
        facts = {"seeds": [block], "curve": [[[1.0, 1.0, None]]], **extra}
        return Trial("c", "R", "full", block, "a", 0, (), (1.0,), 1, {}, "", extra=facts)

    told = training_facts([trial(0, accumulated_after_out_of_memory=4), trial(1)])
    assert told["accumulated_after_out_of_memory"] == 4
    assert training_facts([trial(0)])["accumulated_after_out_of_memory"] is None


@pytest.mark.parametrize("swept", [False, True])
def test_the_head_tells_its_epochs_or_what_its_sweep_chose(
    swept: bool, cli: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "small.toml"
    sweep = "weight_decays = [0.0001, 0.1]\nvalidation = 0.25\n" if swept else ""
    plan.write_text(f"min_seconds = 0.01\nrepeats = 1\ndiscards = 0\nseeds = [1]\n{sweep}")
    done = cli(
        "run", plan, "--task", images, "--backbone", "resnet18/dense@generated", "--engine",
        "torch", "--workload", "linear-cached", "--size", 32, "--batch-size", 8, "--threads", 1,
        "--epochs", 4, "--out", tmp_path / "R",
    )  # fmt: skip
    assert done.code == 0, done.err
    (record,) = map(json.loads, (tmp_path / "R/records.jsonl").read_text().splitlines())
    (trial,) = map(json.loads, (tmp_path / "R/trials.jsonl").read_text().splitlines())
    summary = (tmp_path / "R/summary.md").read_text()
    # Of the engine's worker: the process that trains the heads holds the whole run.
    assert record["extra"]["peak_memory_bytes"] == trial["extra"]["peak_memory_bytes"] > 1e8
    # A column that nobody fills is left out.
    assert ("| s/epoch of the heads |" in summary) != swept
    if swept:
        scores = trial["extra"]["weight_decays"]
        best = max(scores, key=lambda decay: (scores[decay], float(decay)))
        assert record["extra"]["chosen_weight_decays"] == [float(best)]
        assert record["extra"]["head_seconds_per_epoch"] is None
        assert "| chosen weight decay |" in summary and f"| torch | {float(best):g} |" in summary
    else:
        expected = record["trials"][0]["stages"]["head"] / 4
        assert record["extra"]["head_seconds_per_epoch"] == [pytest.approx(expected)]
        assert record["extra"]["chosen_weight_decays"] is None
