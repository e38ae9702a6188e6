"""A real run in which something goes wrong, or that was ended before its time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sparsebench.exporters.worker.launch import ENGINES
from tests.bench.run.small import COMMAND, SMALL, TINY, Cli, lines, plan_file


def test_a_failing_cell_is_a_record_with_a_reason_and_the_others_go_on(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        f'min_seconds = 0.01\nrepeats = 1\nworkloads = ["inference"]\nsize = 32\nbatch_size = 4\n'
        f'threads = 1\nepochs = 2\nbackbones = ["{TINY}"]\ntasks = ["{images}"]\n'
        '[engines.onnxruntime]\n[engines.deepsparse]\npython = "/nonexistent/python"\n'
    )
    result = cli("run", path, "--out", tmp_path / "R")
    assert result.code == 0
    status = {
        (r["backbone"]["name"].split("/")[1], r["engine"]["name"]): (r["status"], r["reason"])
        for r in lines(tmp_path / "R/records.jsonl")
    }
    assert status["dense@generated", "onnxruntime"] == ("ok", None)
    failed, reason = status["dense@generated", "deepsparse"]
    assert failed == "failed"
    assert "/nonexistent/python could not be started" in reason
    assert "could not be started" in " ".join(result.out.split())


def test_an_engine_that_crashes_or_computes_wrongly_costs_only_its_own_cells(
    cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rogue in (("dies-midway", "DiesMidway"), ("wrong", "ComputesWrongly")):
        target = f"tests.exporters.rogue_engines:{rogue}"
        monkeypatch.setitem(ENGINES._targets, name, target)
    path = tmp_path / "plan.toml"
    path.write_text(
        f"min_seconds = 0.01\nrepeats = 2\nsize = 32\nbatch_size = 4\nthreads = 1\nepochs = 2\n"
        f'backbones = ["{TINY}"]\ntasks = ["{images}"]\nworkloads = ["inference"]\n'
        'engines = ["dies-midway", "wrong", "onnxruntime"]\n'
    )
    assert cli("run", path, "--out", tmp_path / "R").code == 0
    found: dict[str, set[tuple[str, str]]] = {}
    for record in lines(tmp_path / "R/records.jsonl"):
        reason = record["reason"] or ""
        found.setdefault(record["engine"]["name"], set()).add((record["status"], reason))
    assert found["onnxruntime"] == {("ok", "")}
    assert all(s == "failed" and "SIGSEGV" in reason for s, reason in found["dies-midway"])
    assert all(
        s == "failed" and "verification failed" in reason and "differ from PyTorch" in reason
        for s, reason in found["wrong"]
    )
    summary = (tmp_path / "R/summary.md").read_text()
    assert "SIGSEGV" in summary


def test_a_batch_that_does_not_fit_in_memory_is_a_reason_with_its_fix(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    options = ["--backbone", TINY, "--engine", "onnxruntime", "--repeats", 1]
    options += ["--task", images, "--batch-size", 65_536, "--size", 512]
    options += ["--workload", "inference", "--out", tmp_path / "R"]
    result = cli("run", "quick", *options)
    assert result.code == 3
    reasons = {r["reason"] for r in lines(tmp_path / "R/records.jsonl")}
    assert all("smaller --batch-size" in reason for reason in reasons)


def test_a_run_in_which_everything_fails_exits_three(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        f'repeats = 1\nbackbones = ["{TINY}"]\ntasks = ["{images}"]\nsize = 32\n'
        '[engines.deepsparse]\npython = "/nonexistent/python"\n'
    )
    result = cli("run", path, "--out", tmp_path / "R")
    assert result.code == 3
    assert "Nothing was measured" in result.err
    assert all(r["status"] == "failed" for r in lines(tmp_path / "R/records.jsonl"))


def test_a_killed_run_resumes_without_losing_or_repeating_a_trial(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "R"
    options = [*map(str, SMALL), "--engine", "onnxruntime", "--task", str(images)]
    command = ["run", str(plan_file(tmp_path)), *options, "--out", str(out)]
    process = subprocess.Popen(
        [*COMMAND, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    trials = out / "trials.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if trials.exists() and trials.read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = trials.read_text()
    assert before.count("\n") >= 3

    # What a kill in the middle of a write leaves behind.
    with trials.open("a") as file:
        file.write('{"schema": "trial.v1", "cell": "torn')
    result = cli(*command, "--resume")
    assert result.code == 0, result.err
    after = trials.read_text()
    assert after.startswith(before[: before.rindex("\n") + 1])
    done = [(line["cell"], line["block"]) for line in lines(trials)]
    assert len(done) == len(set(done)) == 2 * 2 * 2
    assert {r["status"] for r in lines(out / "records.jsonl")} == {"ok"}

    again = trials.read_text()
    assert cli(*command, "--resume").code == 0  # a finished run has nothing left to do
    assert trials.read_text() == again

    other = cli(*command, "--resume", "--batch-size", 4)
    assert other.code == 2
    assert "batch_size" in other.err


def test_ctrl_c_keeps_what_was_measured_and_says_how_to_go_on(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "R"
    options = [*map(str, SMALL), "--engine", "onnxruntime", "--task", str(images)]
    process = subprocess.Popen(
        [
            *COMMAND,
            "run",
            str(plan_file(tmp_path)),
            *options,
            "--repeats",
            "50",
            "--out",
            str(out),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    trials = out / "trials.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (trials.exists() and trials.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in err
    assert "Traceback" not in err
    assert lines(trials)
