"""`sparsebench advise`: words and JSON say the same, in 80 columns, with the right exit code."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsebench.bench.plan.plan import Plan, plan_to_toml
from tests.bench.conftest import Result
from tests.bench.decide.made import cell, folder_of

Cli = Callable[..., Result]
POINTS = (90.0, 90.2, 90.4)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    records = (
        cell("dense", "onnxruntime", (1.00e-3, 1.01e-3, 0.99e-3), POINTS),
        cell("acdc-90", "deepsparse", (0.25e-3, 0.26e-3, 0.24e-3), (89.8, 90.1, 90.2)),
        cell("dense", "onnxruntime", (9.0, 9.1, 9.2), POINTS, workload="linear-cached"),
        cell("acdc-90", "deepsparse", (5.0, 5.1, 5.2), POINTS, workload="linear-cached"),
    )
    folder_of(records).write(tmp_path / "run")
    return tmp_path / "run"


def test_the_answer_fits_80_columns_and_has_no_colour_codes_in_a_pipe(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = cli("advise", run, "--retrain-every", "day")
    assert result.code == 0
    assert "Take resnet18/acdc-90 on deepsparse." in result.out
    assert "Runner-up: resnet18/dense on onnxruntime" in result.out
    assert "under --production: resnet18/dense on onnxruntime" in result.out
    assert "Retrained every day (linear-cached)" in result.out
    assert "\x1b" not in result.out
    lines = [line for line in result.out.splitlines() if "sparsebench run" not in line]
    assert max(map(len, lines)) <= 80


def test_json_holds_the_same_facts(cli: Cli, run: Path) -> None:
    result = cli("advise", run, "--production", "--json")
    facts = json.loads(result.out)
    inference = facts["answers"][0]
    assert (inference["workload"], inference["batch_size"]) == ("inference", 64)
    assert inference["take"]["backbone"] == "resnet18/dense"
    assert inference["take"]["seconds_per_picture"] == pytest.approx(1e-3, rel=1e-3)
    assert inference["licence_forbids"][0]["variant"] == "resnet18/acdc-90 on deepsparse"
    assert facts["question"]["production"] is True


def test_exit_codes_tell_a_script_what_happened(cli: Cli, run: Path) -> None:
    assert cli("advise", run).code == 0
    assert cli("advise", run, "--latency", "1ms").code == 1
    unmeasured = cli("advise", run, "--batch-size", 1)
    assert unmeasured.code == 3
    assert f"sparsebench run {run}/plan.toml --workload inference --batch-size 1" in unmeasured.out
    wrong = cli("advise", run, "--latency", "quick")
    assert wrong.code == 2 and "20ms" in wrong.err
    assert cli("advise", run / "missing").code == 2


def test_an_answer_says_memory_disk_and_energy(cli: Cli) -> None:
    run = Path(__file__).parents[3] / "results/reference/amd-epyc-2cpu/quick-best-dense"
    told = cli("advise", run, "--max-accuracy-loss", 5, "--json")
    known = next(
        (answer["take"] or answer["best_dense"])["resources"]
        for answer in json.loads(told.out)["answers"]
        if answer.get("workload") == "inference"
    )
    said = " ".join(cli("advise", run, "--max-accuracy-loss", 5).out.split())
    assert f"memory: {known['peak_memory_bytes'] / 1e6:.0f} MB at its peak" in said
    assert "energy: not readable" in said and known["energy"] == "not readable"
    dense, sparse, _ = (f"{size / 1e6:.3g} MB" for size in known["model_bytes"].values())
    assert f"on disk: {dense} dense, {sparse} sparse" in said


def test_a_run_that_is_named_twice_counts_once(cli: Cli, run: Path) -> None:
    """It was tied with itself, and nothing was shown: exit code 4."""
    once = cli("advise", run)
    twice = cli("advise", run, run / ".." / run.name)
    assert (twice.code, twice.out) == (once.code, once.out)


def test_a_share_is_explained_by_one_that_can_be_meant(cli: Cli, run: Path) -> None:
    assert "Write it as 95% or 0.95." in cli("advise", run, "--confidence", "95").err


def test_what_was_not_recorded_is_not_said_in_megabytes(cli: Cli) -> None:
    old = Path(__file__).parents[3] / "results/reference/amd-epyc-2cpu/quick"
    said = cli("advise", old).out
    assert "memory: not known; energy: not readable" in " ".join(said.split())


@pytest.mark.parametrize("engines", [("deepsparse",), ("native:int8", "onnxruntime"), ("native",)])
def test_the_command_that_measures_the_rest_can_be_run(
    cli: Cli, run: Path, engines: tuple[str, ...]
) -> None:
    """It was refused: "None of the plan's engines (deepsparse) can do 'full'"."""
    plan = Plan(backbones=("resnet18/gmp-90",), engines=engines, workloads=("inference",))
    (run / "plan.toml").write_text(plan_to_toml(plan), encoding="utf-8")
    told = cli("advise", run).out
    (command,) = (line.strip() for line in told.splitlines() if "--workload full" in line)
    assert ("--engine" in command) == (engines != ("native",))
    done = cli(*shlex.split(command)[1:], "--dry-run", "--limit", 40)
    assert done.code == 0, done.err
