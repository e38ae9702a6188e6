"""`import sparsebench`: public names only, and the same answers as the command line."""

from __future__ import annotations

import csv
import inspect
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sparsebench
from sparsebench.models.errors import SparsebenchError
from tests.bench.conftest import Result, cli  # noqa: F401  (a fixture)

Cli = Callable[..., Result]

QUICK = Path(__file__).parents[1] / "results/reference/amd-epyc-2cpu/quick"


def test_every_public_name_is_there_and_documented() -> None:
    assert set(sparsebench.__all__) <= set(dir(sparsebench))
    for name in sparsebench.__all__:
        found = getattr(sparsebench, name)
        assert name == "__version__" or inspect.getdoc(found), name
    with pytest.raises(AttributeError, match="no attribute 'bench_everything'"):
        _ = sparsebench.bench_everything


def test_the_import_brings_no_heavy_library() -> None:
    code = "import sys, sparsebench; print(*sorted({'torch', 'numpy', 'pandas'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_frame_is_the_csv_of_the_run() -> None:
    frame = sparsebench.load(QUICK).to_frame()
    with (QUICK / "summary.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [*frame["record"]] == [line["record"] for line in written]
    for column in ("accuracy_percent", "speedup_same_engine"):
        for mine, theirs in zip(frame[column], written, strict=True):
            assert math.isclose(mine, float(theirs[column] or "nan"), rel_tol=1e-6) or (
                math.isnan(mine) and not theirs[column]
            )


def test_advice_is_that_of_the_command_line(cli: Cli) -> None:  # noqa: F811
    advice = sparsebench.load(QUICK).advise(max_accuracy_loss=0.5)
    printed = cli("advise", str(QUICK), "--max-accuracy-loss", "0.5", "--json")
    assert json.loads(printed.out) == json.loads(json.dumps(advice.to_json()))
    words = " ".join(cli("advise", str(QUICK)).out.split())
    assert " ".join(str(advice).split()) == words


def test_figures_and_report_are_written_where_asked(tmp_path: Path) -> None:
    run = sparsebench.load(QUICK)
    drawn = run.plot(tmp_path / "figures")
    assert {path.suffix for path in drawn} == {".png", ".svg"}
    page = run.report(tmp_path / "page.md")
    assert page.read_text(encoding="utf-8").startswith("#")


def test_a_run_measures_and_comes_back(tmp_path: Path) -> None:
    run = sparsebench.run(
        "quick",
        out=tmp_path / "R",
        progress=False,
        backbones=["resnet18/uniform-90@generated"],
        engines=["onnxruntime"],
        workloads=["inference"],
        limit=40,
        repeats=1,
        size=32,
        threads=1,
    )
    assert [record.status for record in run.records] == ["ok", "ok"]
    assert len(run.to_frame()) == 2
    assert run.comparisons[0].speedup is not None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sparsebench.run("qick"), "quick"),
        (lambda: sparsebench.run("quick", bakbones=["x"]), "bakbones"),
        (lambda: sparsebench.load("/nowhere"), "holds no run"),
    ],
)
def test_bad_input_names_itself(call: object, said: str) -> None:
    assert callable(call)
    with pytest.raises(SparsebenchError, match=said):
        call()


def test_one_run_needs_no_list_and_counts_once() -> None:
    """A path was taken letter by letter: "r holds no run"."""
    alone = sparsebench.advise([QUICK]).to_json()
    for runs in (QUICK, str(QUICK), sparsebench.load(QUICK), [QUICK, QUICK / ".." / QUICK.name]):
        assert sparsebench.advise(runs).to_json() == alone


def test_one_figure_needs_no_list(tmp_path: Path) -> None:
    drawn = sparsebench.load(QUICK).plot(tmp_path, figures="stages")
    assert {path.name for path in drawn} == {"stages.png", "stages.svg"}


def test_the_limits_of_python_are_checked_as_those_of_the_command_line() -> None:
    run = sparsebench.load(QUICK)
    for limits in ({"max_accuracy_loss": math.nan}, {"confidence": 95}, {"latency": 0}):
        with pytest.raises(SparsebenchError, match="cannot be asked for"):
            run.advise(**limits)
