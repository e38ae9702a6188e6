"""Every command of README.md, CONTRIBUTING.md and docs/*.md works.

Ours run, made small by the table in `tests.docs.small`. Of the others, what can run offline and
inside a test does: `uv venv`, the sessions in a small form, and the check of a GPU where there is
none. The rest cannot: `uv pip install` and `pip install` need the package index (their options and
the names they give are checked), and `uv run pytest`, `zensical` and `.ci/run` are what runs these
tests (`.ci/run` must hold them).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import uv

from tests.bench.conftest import Result
from tests.docs.commands import PAGES, ROOT, Command, commands
from tests.docs.small import RULES, rule_of

Cli = Callable[..., Result]
OURS = [one for one in commands() if one.sparsebench is not None]
# Made small, some differ in nothing but the folder that they write: one of them runs.
RUN = {
    (*rule_of(words).applied_without_out(words), *one.environ): one
    for one in sorted(OURS, key=lambda one: len(one.sparsebench or ()))
    if (words := one.sparsebench or ())
}
OTHERS = [one for one in commands() if one.sparsebench is None]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# A check's runs get options of their own; all other values may only be made smaller.
OTHER_VALUES = ("--run-options",)
SESSIONS = {
    "backbone": "resnet18/dense",
    "workload": "inference",
    "engine": "onnxruntime",
    "repeats": "1",
    "threads": "1",
    "batch-size": "8",
    "limit": "40",
    "epochs": "1",
}


@pytest.fixture(autouse=True)
def inside(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the command's own, with all that the pages speak of."""
    here = tmp_path / "here"
    here.mkdir()
    for entry in folder.iterdir():
        (here / entry.name).symlink_to(entry)
    monkeypatch.chdir(here)
    return here


@pytest.mark.pages
@pytest.mark.parametrize("command", RUN.values(), ids=str)
def test_a_command_of_ours_works(
    command: Command,
    cli: Cli,
    inside: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    written = command.sparsebench or ()
    rule = rule_of(written)
    for name in rule.needs:
        request.getfixturevalue(name)
    for name, value in command.environ:
        monkeypatch.setenv(name, value)
    if "--out" in written:  # what the command makes is not there yet
        (inside / written[written.index("--out") + 1]).unlink(missing_ok=True)
    words = rule.applied(written)
    result = cli(*words)
    assert result.code in rule.codes, (words, result.out, result.err)
    if written[0] == "run" and "--dry-run" not in written and "--help" not in written:
        _every_cell_was_measured(inside, words)


def _every_cell_was_measured(inside: Path, words: list[str]) -> None:
    out = words[words.index("--out") + 1] if "--out" in words else "runs/*"
    (found,) = inside.glob(f"{out}/records.jsonl")
    records = [json.loads(line) for line in found.read_text().splitlines()]
    failed = [record["reason"] for record in records if record["status"] != "ok"]
    assert records and not failed, failed


@pytest.mark.parametrize("command", OURS, ids=str)
def test_what_runs_is_what_the_page_says(command: Command) -> None:
    written = list(command.sparsebench or ())
    runs = rule_of(written).applied(written)
    for index, (page, run) in enumerate(zip(written, runs, strict=False)):
        if page != run:
            option = written[index - 1]
            assert option in OTHER_VALUES or float(run) < float(page), (option, page, run)
    added = runs[len(written) :]
    assert not {"--dry-run", "--machine", "--help", "--show-recipe"} & set(added)


def test_every_rule_has_a_command() -> None:
    used = {id(rule_of(command.sparsebench or ())) for command in OURS}
    assert [rule.words for rule in RULES if id(rule) not in used] == []


@pytest.mark.pages
@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_another_command_works(command: Command, images: Path, tmp_path: Path) -> None:
    words = [word for word in command.words if word != "--no-sync"]
    tests = (ROOT / ".ci" / "run").read_text()
    match words:
        case ["uv", "venv"]:
            _done([uv.find_uv_bin(), "venv", "--python", sys.executable])
        case ["uv", "pip", "install", *rest] | ["pip", "install", *rest]:
            _done([uv.find_uv_bin(), "pip", "install", *rest, "--help"])
            _names_are_ours(rest)
        case ["uv", "run", "pytest"] | ["bash", ".ci/run"]:
            assert "\nuv run pytest\n" in tests
        case ["uv", "run", "zensical", "serve"]:
            assert "zensical build --strict" in tests
        case ["uv", "run", "pytest", "bench/sessions"]:
            options = [f"--sparsebench-{name}={value}" for name, value in SESSIONS.items()]
            small = [*options, f"--sparsebench-task={images}", "-n0", "-p", "no:cacheprovider"]
            small.append(f"--benchmark-json={tmp_path / 'session.json'}")
            done = _done([sys.executable, "-m", *words[2:], *small], ROOT)
            assert "1 passed" in done
            # And the unmodified tool reads it.
            tool = str(Path(sys.executable).with_name("pytest-benchmark"))
            assert "test_inference" in _done([tool, "compare", str(tmp_path / "session.json")])
        case ["uv", "run", "pytest", "bench/sessions/test_gpu.py", "-s"]:
            # Minutes on a GPU, which is for whoever asks; elsewhere it says that there is none.
            only = ["--collect-only"] if torch.cuda.is_available() else ["-rs"]
            done = _done(
                [sys.executable, "-m", *words[2:], *only, "-n0", "-p", "no:cacheprovider"], ROOT
            )
            assert "test_gpu.py" in done if only != ["-rs"] else "no CUDA GPU here" in done
        case ["uv", "run", "pytest", "tests/docs", *_]:
            assert " ".join(words) in tests
        case ["uv", "run", "pytest", path]:  # a part of these tests
            assert (ROOT / path).is_file() and path.startswith("tests/")
        case _:
            pytest.fail(f"nothing says how to test {command}")


def _done(words: list[str], folder: Path | None = None) -> str:
    # pytest-benchmark measures nothing in a process that looks like one of pytest-xdist's.
    own = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _names_are_ours(words: list[str]) -> None:
    for option, value in pairwise(words):
        assert option != "--group" or value in PROJECT["dependency-groups"]
    for package, extra in re.findall(r"(sparsebench)\[(\w+)\]", " ".join(words)):
        assert package == PROJECT["project"]["name"]
        assert extra in PROJECT["project"]["optional-dependencies"]


def test_the_pages_have_commands_and_links_that_lead_somewhere() -> None:
    assert len(OURS) > 50
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_images_are_drawn_by_our_own_code(tmp_path: Path) -> None:
    import runpy

    made = runpy.run_path(str(ROOT / "docs" / "make_pictures.py"))["make"](tmp_path)
    committed = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    assert {path.name for path in made} == committed
    assert all(path.stat().st_size > 5000 for path in made)
