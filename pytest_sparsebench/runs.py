"""Running ``sparsebench`` as a process, and reading what it wrote."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class SparseResult:
    """One measured cell.

    Args:
        samples: seconds by the worker's clock, in measured order, all blocks.
        info: what goes into ``extra_info["sparsebench"]``.
    """

    samples: list[float]
    info: dict[str, Any]

    @property
    def speedup(self) -> float | None:
        """Dense baseline's time over this one's; None for a dense cell."""
        value: float | None = self.info["speedup"]
        return value

    @property
    def accuracy_change(self) -> float | None:
        """Percentage points against the dense baseline; None for a dense cell."""
        value: float | None = self.info["accuracy_change"]
        return value


@dataclass
class State:
    """What one pytest session has seen of this plugin."""

    runs: dict[tuple[str, ...], Path] = field(default_factory=dict)
    recorded: dict[str, SparseResult] = field(default_factory=dict)


STATE = pytest.StashKey[State]()


def run_once(request: pytest.FixtureRequest, arguments: Sequence[str]) -> Path:
    """Run ``sparsebench run`` with these arguments, once a session.

    Returns:
        The run's folder. A run in which every cell failed is one too: the records say why.
    """
    state = request.config.stash[STATE]
    key = tuple(arguments)
    if key not in state.runs:
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        folder = factory.mktemp("sparsebench") / "run"
        code, said = _watched(request.config, ["run", *arguments, "--out", str(folder)])
        if code not in (0, 3):
            pytest.fail(f"sparsebench run ended with {code}: {said}", False)
        state.runs[key] = folder
    return state.runs[key]


def sparsebench(
    config: pytest.Config, arguments: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run the command; that of this environment, on the path, or of the ini option."""
    return subprocess.run(
        [*_command(config), *arguments],
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )


def _watched(config: pytest.Config, arguments: Sequence[str]) -> tuple[int, str]:
    """Run the command and show its lines of progress while it works, which takes minutes.

    Returns:
        Its exit code, and all that it wrote to stderr.
    """
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    command = [*_command(config), *arguments]
    said = []
    with (
        capture.global_and_fixture_disabled() if capture else nullcontext(),
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if terminal is not None:
                terminal.ensure_newline()
                terminal.write_line(f"sparsebench: {line.rstrip()}")
    return process.returncode, "".join(said)


def _command(config: pytest.Config) -> list[str]:
    command = shlex.split(config.getini("sparsebench_command"))
    if not command:
        beside = Path(sys.executable).with_name("sparsebench")
        found = str(beside) if beside.exists() else shutil.which("sparsebench")
        if found is None:
            pytest.fail(
                "There is no command sparsebench; set the ini option sparsebench_command, "
                "for example to 'uvx sparsebench'.",
                False,
            )
        command = [found]
    return command


def _environment() -> dict[str, str]:
    """Not the tests' own path: a folder `models` on it would hide the suite's."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def find_cell(
    folder: Path, backbone: str, engine: str, workload: str, task: str | None
) -> SparseResult:
    """One measured cell of a run; fails the test where it is missing or was not measured."""
    for record in reversed(_lines(folder / "records.jsonl")):  # the latest of a cell counts
        # A checkpoint that was given by its path alone is called `resnet18/mine-90@mine.pth`.
        name = record["backbone"]["name"]
        names = (record["engine"]["name"], record["workload"])
        if backbone not in (name, name.partition("@")[2]) or names != (engine, workload):
            continue
        # A task that was cut by --limit is called `name:limit`.
        whole = record["task"]["name"].partition(":")[0]
        if task is not None and whole not in (task, Path(task).name):
            continue
        if record["status"] != "ok":
            pytest.fail(f"{backbone} on {engine}: {record['reason']}", False)
        return _result(folder, record)
    pytest.fail(f"The run in {folder} has no cell {backbone} on {engine} ({workload}).", False)


def _result(folder: Path, record: dict[str, Any]) -> SparseResult:
    found = [c for c in _lines(folder / "comparisons.jsonl") if c["sparse"] == record["id"]]
    comparison: dict[str, Any] = found[0] if found else {}
    if found and comparison["status"] != "ok":
        pytest.fail(f"{record['backbone']['name']}: {comparison['reason']}", False)
    accuracy = record["accuracy"] or {}
    speedup, total, change = (
        comparison.get(key) or {} for key in ("speedup", "total", "accuracy_delta")
    )
    engine = record["engine"]
    info = {
        "cell": record["id"],
        "comparison": f"{record['id']}/{comparison['dense']}" if found else None,
        "workload": record["workload"],
        "task": record["task"]["name"],
        "backbone": record["backbone"]["name"],
        "trained": record["backbone"]["trained"],
        "engine": {key: engine[key] for key in ("name", "version", "batch_size", "threads")},
        "pictures_per_sample": record["trials"][0]["items"],
        "blocks": len(record["trials"]),
        "speedup": speedup.get("median"),
        "speedup_ci95": speedup.get("ci95"),
        "total": total.get("median"),
        "total_ci95": total.get("ci95"),
        "verdict": comparison.get("verdict"),
        "metric": record["task"].get("metric"),
        "accuracy": accuracy.get("mean"),
        "accuracy_ci95": accuracy.get("ci95"),
        "accuracy_change": change.get("mean"),
        "accuracy_change_ci95": change.get("ci95"),
        "accuracy_change_over": change.get("over"),
        "measured_sparsity": record["backbone"]["measured_sparsity"],
        "proof": record["proof"],
        "machine": record["machine"]["fingerprint"],
    }
    samples = [second for trial in record["trials"] for second in trial["seconds"]]
    return SparseResult(samples, info)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def score_word(metric: str | None) -> str:
    """What a task's score is called: ``mAP50`` of boxes, else ``accuracy``."""
    if metric is None or not metric.startswith("map"):
        return "accuracy"
    return metric.replace("map", "mAP").replace("_", "-")
