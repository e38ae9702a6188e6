"""The sessions that the suite ships: which cells they are made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def collected(*options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "bench/sessions", "--collect-only", "-qq", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_every_workload_has_a_session_on_engines_that_can_do_it() -> None:
    counts = dict(line.split(": ") for line in collected() if line.startswith("bench/sessions"))
    # Dense and sparse on two engines; full fine-tuning in PyTorch, and nine checks for a GPU.
    assert counts == {
        "bench/sessions/test_full.py": "2",
        "bench/sessions/test_gpu.py": "5",
        "bench/sessions/test_inference.py": "4",
        "bench/sessions/test_linear_cached.py": "4",
        "bench/sessions/test_linear_online.py": "4",
        "bench/sessions/test_two_of_four.py": "4",
    }


def test_a_workload_may_be_chosen() -> None:
    found = collected("--sparsebench-workload", "full", "--sparsebench-engine", "deepsparse")
    assert [line for line in found if line.startswith("bench/")] == [
        "bench/sessions/test_full.py: 2",
        "bench/sessions/test_gpu.py: 5",
    ]
    found = collected("--sparsebench-workload", "inference")
    assert [line for line in found if line.startswith("bench/")] == [
        "bench/sessions/test_inference.py: 4",
        "bench/sessions/test_two_of_four.py: 4",
    ]


def test_sessions_are_measured_in_one_process() -> None:
    # The tests of the suite run in two; a benchmark must not, however it is started.
    started = subprocess.run(
        [sys.executable, "-m", "pytest", "bench/sessions", "-k", "no_such_test"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert started.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, started.stdout
    assert "deselected" in started.stdout
    assert "bringing up nodes" not in started.stdout
