"""`check --base REF --head REF` on a small repository whose `bench` hands out synthetic runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.conftest import Result
from tests.bench.gate.changed import QUIET, TWO, slowed
from tests.bench.synthetic import make_run

Cli = Callable[..., Result]
BLOCKS = 3
MAIN = """
import os, shutil, sys
from pathlib import Path
assert sys.argv[1:3] == ["run", "quick"] and "--engine" in sys.argv, sys.argv
out = Path(sys.argv[sys.argv.index("--out") + 1])
version = Path(__file__).with_name("version").read_text().strip()
with open(os.environ["ORDER"], "a") as order:
    order.write(out.name + chr(10))
shutil.copytree(Path(os.environ["RUNS"]) / version / out.name.rpartition("-")[2], out)
"""


TOGETHER = """
import os, sys, time
from pathlib import Path
from sparsebench.bench.clock.alternation import Turns
from tests.bench.gate.changed import QUIET, TWO, slowed
from tests.bench.synthetic import make_run
out = Path(sys.argv[sys.argv.index("--out") + 1])
blocks = int(sys.argv[sys.argv.index("--repeats") + 1])
version = Path(__file__).with_name("version").read_text().strip()
if version == "broken":
    sys.exit("it broke")
turns = Turns.from_environment()
turns.start()
seed = 1 + (out.name == "head")
run = make_run(seed=seed, blocks=blocks, backbones=TWO, engines=["torch"], **QUIET)
if version == "slow":
    run = slowed(run, 1.2, lambda r: not r.backbone.is_dense)
for block in range(blocks):
    turns.begin()
    for visit in range(2):
        turns.pass_on()
        with open(os.environ["ORDER"], "a") as order:
            order.write(f"{out.name}{block} ")
    turns.end()
run.write(out)
"""


def git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=repository, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit_versions(repository: Path, *versions: str) -> None:
    """A commit and a tag for each."""
    git(repository, "init", "--quiet")
    for version in versions:
        (repository / "sparsebench/version").write_text(version)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "-m", version)
        git(repository, "tag", version)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one block for each version and block: `slow` has its sparse cells 20 % slower."""
    root = tmp_path_factory.mktemp("runs")
    for number, version in enumerate(("same", "again", "slow")):
        for block in range(BLOCKS):
            run = make_run(
                seed=10 * number + block, blocks=1, backbones=TWO, engines=["torch"], **QUIET
            )
            if version == "slow":
                run = slowed(run, 1.2, lambda r: not r.backbone.is_dense)
            # The drift of a block is a run's own here, as machines drift between runs too;
            # it is taken out, because both sides of a real block run within seconds.
            level = next(t for t in run.trials if t.workload == "inference").seconds[0]
            run = slowed(run, 0.07 / level, lambda r: True)
            run.write(root / version / str(block))
    return root


@pytest.fixture
def repository(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNS", str(runs))
    monkeypatch.setenv("ORDER", str(tmp_path / "order"))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    repository = tmp_path / "repository"
    for package in ("bench", "sparsebench"):
        (repository / package).mkdir(parents=True)
        (repository / package / "__init__.py").write_text("")
    (repository / "sparsebench/__main__.py").write_text(MAIN)
    commit_versions(repository, "same", "again", "slow")
    monkeypatch.chdir(repository)
    return repository


def check(cli: Cli, *options: object) -> Result:
    return cli("check", *options, "--blocks", BLOCKS, "--run-options", "--engine torch")


def test_a_slower_head_fails_and_the_same_commit_does_not(
    cli: Cli, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    same = check(cli, "--base", "same", "--head", "same")
    assert same.code == 0, same.out
    slower = check(cli, "--base", "same", "--head", "slow", "--json")
    assert slower.code == 1
    report = json.loads(slower.out)
    failing = {line["key"]["backbone"] for line in report["verdicts"] if line["failing"]}
    assert failing == {"resnet18/acdc-90"}
    for line in report["verdicts"]:
        if line["failing"]:
            assert line["change"]["low"] < 1 / 1.2 < line["change"]["high"]
            assert line["repeat"].startswith("sparsebench check --base same --head slow")
    assert check(cli, "--base", "slow", "--head", "same").code == 0


def test_sides_take_turns_and_leave_no_worktree(cli: Cli, repository: Path, tmp_path: Path) -> None:
    check(cli, "--base", "same", "--head", ".")
    order = (tmp_path / "order").read_text().split()
    assert order == ["base-0", "head-0", "head-1", "base-1", "base-2", "head-2"]
    assert git(repository, "worktree", "list").count("\n") == 0


def test_checkouts_that_know_turns_alternate_within_a_block(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    suite = Path(__file__).resolve().parents[3]
    for package in ("bench/clock", "sparsebench"):
        (repository / package).mkdir(parents=True)
    (repository / "bench/__init__.py").write_text("")
    (repository / "sparsebench/__init__.py").write_text(
        f"__path__.append({str(suite / 'sparsebench')!r})\n"
    )
    (repository / "sparsebench/__main__.py").write_text(
        f"import sys; sys.path.append({str(suite)!r})" + TOGETHER
    )
    (repository / "bench/clock/alternation.py").write_text(
        (suite / "bench/clock/alternation.py").read_text()
    )
    commit_versions(repository, "same", "slow", "broken")
    monkeypatch.chdir(repository)
    monkeypatch.setenv("ORDER", str(tmp_path / "order"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    same = check(cli, "--base", "same", "--head", "same")
    assert same.code == 0, same.err
    order = (tmp_path / "order").read_text().split()
    assert order[:4] == ["head0", "base0", "base0", "head0"]
    assert order[4:8] == ["base1", "head1", "head1", "base1"]
    assert "in turns" in same.err
    assert check(cli, "--base", "same", "--head", "slow").code == 1
    # Whichever breaks is named, not the one that was stopped because of it.
    for sides in (("same", "broken"), ("broken", "same")):
        broken = check(cli, "--base", sides[0], "--head", sides[1])
        assert broken.code == 3 and "broken measured nothing" in broken.err, broken.err
        assert "it broke" in broken.err


def test_temporary_runs_are_kept_only_where_something_failed(
    cli: Cli, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    fine = check(cli, "--base", "same", "--head", "again")
    assert fine.code == 0 and "so the runs were removed" in " ".join(fine.out.split())
    assert check(cli, "--base", "nowhere").code == 2
    assert not list(temporary.iterdir())
    assert check(cli, "--base", "same", "--head", "again", "--out", tmp_path / "kept").code == 0
    assert (tmp_path / "kept/head-0").is_dir() and not list(temporary.iterdir())
    assert "is not empty" in check(cli, "--base", "same", "--out", tmp_path / "kept").err
    slower = check(cli, "--base", "same", "--head", "slow")
    (left,) = temporary.iterdir()
    assert f"therunsarein{left}" in "".join(slower.out.split())  # a long path is broken somewhere
    assert {path.name for path in left.glob("head-*")} == {"head-0", "head-1", "head-2"}


def test_wrong_usage_is_explained(
    cli: Cli, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no commit 'nowhere'" in check(cli, "--base", "nowhere").err
    assert check(cli, "run", "--base", "same").code == 2
    assert cli("check").code == 2
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where what it leaves is swept up
    broken = cli("check", "--base", "same", "--blocks", 3)  # this `bench` wants --engine
    assert broken.code == 3
    assert "measured nothing" in broken.err
