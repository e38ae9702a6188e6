"""What the command line gets: files of a run, its tables, its images."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import sparsebench.results as results
from sparsebench.bench.present.summaries import plot_runs, render_tables, write_summaries
from tests.bench.synthetic import make_run

FILES = (
    "comparisons.jsonl",
    "summary.md",
    "summary.csv",
    "speedup-accuracy.png",
    "speedup-accuracy.svg",
)


def test_run_folder_is_complete_and_valid_from_outside(tmp_path: Path) -> None:
    """As somebody without this code would check it: plain JSON and the published schemas."""
    folder = make_run(failed={("inference", "resnet18/acdc-90", "torch")}).write(tmp_path / "run")
    write_summaries(folder)
    assert all((folder.path / name).stat().st_size > 0 for name in FILES)
    schemas = Path(results.__path__[0]) / "schema"
    for name in ("trial", "record", "comparison"):
        schema = json.loads((schemas / f"{name}.v1.json").read_text())
        validator = jsonschema.Draft202012Validator(schema)
        for line in (folder.path / f"{name}s.jsonl").read_text().splitlines():
            validator.validate(json.loads(line))
    for line in (folder.path / "comparisons.jsonl").read_text().splitlines():
        comparison = json.loads(line)
        if comparison["status"] != "ok":
            assert comparison["reason"]
            continue
        effects = comparison["effects"]
        product = effects["engine"] * effects["sparsity"] * effects["precision"]
        assert product == pytest.approx(comparison["total"]["median"])
        low, high = comparison["accuracy_delta"]["ci95"]
        assert low <= comparison["accuracy_delta"]["mean"] <= high


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    folder = make_run(blocks=2).write(tmp_path / "run")
    write_summaries(folder)
    before = {name: (folder.path / name).read_bytes() for name in FILES}
    write_summaries(folder)
    assert {name: (folder.path / name).read_bytes() for name in FILES} == before


def test_tables_of_a_folder(tmp_path: Path) -> None:
    folder = make_run(blocks=2).write(tmp_path / "run")
    assert len(render_tables(folder)) >= 3  # two workloads, how to read them, the licence


def test_several_runs_share_a_figure(tmp_path: Path) -> None:
    runs = [
        make_run(blocks=3, engines=("onnxruntime",), workloads=(workload, "linear-cached")).write(
            tmp_path / workload
        )
        for workload in ("inference", "linear-cached")
    ]
    written = plot_runs(runs, tmp_path / "figure.svg")
    assert [path.name for path in written] == ["figure.png", "figure.svg"]
    written = plot_runs(runs[:1], tmp_path / "plots")
    assert [path.name for path in written] == ["speedup-accuracy.png", "speedup-accuracy.svg"]


def test_run_without_any_measurement_still_has_its_files(tmp_path: Path) -> None:
    cell = ("inference", "resnet18/dense", "torch")
    run = make_run(failed={cell}, backbones=(cell[1],), engines=(cell[2],), workloads=(cell[0],))
    folder = run.write(tmp_path / "run")
    write_summaries(folder)
    assert (folder.path / "comparisons.jsonl").read_text() == ""
    assert "Nothing was measured." in (folder.path / "summary.md").read_text()
