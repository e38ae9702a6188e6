"""The CI kit: workflows with least rights and pinned actions; the action does what it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[1] / ".github"
WORKFLOWS = sorted((ROOT / "workflows").glob("*.yml"))
ACTION = ROOT / "actions" / "sparsebench" / "action.yml"
STUB = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$CALLS"
for word in "$@"; do
    case "$last" in --markdown | --junit | --badge) echo told >"$word" ;; esac
    last=$word
done
case "$1" in
run)
    mkdir -p sparsebench-out/run && echo page >sparsebench-out/run/report.html
    exit "$RUN_CODE" ;;
check) exit "$CHECK_CODE" ;;
esac
"""


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text())
    assert used
    for one in used:
        local = one.startswith("./") and (ROOT.parent / one / "action.yml").is_file()
        assert local or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one) or "@COMMIT" in one, one


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_right_that_a_job_does_not_ask_for(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["permissions"]["contents"] == "read" and job["timeout-minutes"]


def measured(folder: Path, *, run: int = 0, check: int = 0, **inputs: str) -> tuple[str, list[str]]:
    """What the action's step writes to its outputs, and the commands it gives."""
    (step,) = [one for one in read(ACTION)["runs"]["steps"] if one.get("id") == "measure"]
    command = folder / "sparsebench"
    command.write_text(STUB)
    command.chmod(0o755)
    given = {"PLAN": "quick", "RUN_OPTIONS": "", "BASELINE": "", "BASE": "", "CHECK_OPTIONS": ""}
    environment = {
        **os.environ, **given, **inputs, "COMMAND": str(command), "CALLS": str(folder / "calls"),
        "GITHUB_OUTPUT": str(folder / "outputs"), "RUN_CODE": str(run), "CHECK_CODE": str(check),
    }  # fmt: skip
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    subprocess.run(shell, cwd=folder, env=environment, check=True, timeout=60)
    return (folder / "outputs").read_text(), (folder / "calls").read_text().splitlines()


def test_the_action_runs_checks_and_keeps_the_verdict(tmp_path: Path) -> None:
    outputs, calls = measured(
        tmp_path, check=1, BASELINE="ci.toml", RUN_OPTIONS="--engine 'native' --limit 60",
        CHECK_OPTIONS="--across-machines",
    )  # fmt: skip
    assert calls[0] == "run quick --engine native --limit 60 --out sparsebench-out/run"
    assert calls[1].startswith("check sparsebench-out/run --baseline ci.toml --across-machines")
    assert "code=1" in outputs and "report=sparsebench-out/run/report.html" in outputs
    assert (tmp_path / "sparsebench-out" / "check.md").read_text() == "told\n"


def test_inputs_that_are_not_given_are_no_words(tmp_path: Path) -> None:
    """The five lines of docs/ci.md: `run quick ''` ends with "unexpected extra argument"."""
    _, calls = measured(tmp_path, BASELINE="ci.toml")
    assert calls[0] == "run quick --out sparsebench-out/run"
    assert calls[1].startswith("check sparsebench-out/run --baseline ci.toml --markdown ")


def test_a_run_that_measures_nothing_is_not_checked(tmp_path: Path) -> None:
    outputs, calls = measured(tmp_path, run=3, BASELINE="ci.toml")
    assert "code=3" in outputs and len(calls) == 1


def test_two_commits_are_measured_without_a_baseline(tmp_path: Path) -> None:
    _, (call,) = measured(tmp_path, BASE="origin/main", RUN_OPTIONS="--limit 60")
    assert call.startswith(
        "check --base origin/main --head HEAD --plan quick --run-options --limit"
    )


def test_words_of_an_input_are_words_and_no_commands(tmp_path: Path) -> None:
    _, calls = measured(tmp_path, PLAN="$(touch owned)", RUN_OPTIONS="--limit $(touch${IFS}owned)")
    assert not (tmp_path / "owned").exists()
    assert calls[0].startswith("run $(touch owned) --limit $(touch${IFS}owned)")
