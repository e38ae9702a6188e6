"""In a pipe of 80 columns every table fits, names stay whole, and nothing depends on colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sparsebench.exporters.worker import environments
from tests.bench.conftest import Result
from tests.bench.synthetic import make_run

Cli = Callable[..., Result]


def fits(result: Result, *words: str) -> None:
    assert result.code in (0, 1, 4), result.err
    assert "\x1b" not in result.out
    # A command that is broken in two cannot be copied.
    lines = [line.rstrip() for line in result.out.splitlines() if "repeat: " not in line]
    long = [line for line in lines if len(line) > 80]
    assert not long
    for word in words:
        assert word in result.out


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("backbones", ["resnet18/gmp-90", "efficientnet_lite0/magnitude_uniform-50"]),
        ("engines", ["torch-compile", "neuralmagic"]),
        ("tasks", ["fashion-mnist", "mean_per_class"]),
        ("workloads", ["linear-cached"]),
        ("plans", ["finetune"]),
        ("methods", ["rigl", "2106.12379"]),
    ],
)
def test_lists(cli: Cli, what: str, words: list[str]) -> None:
    fits(cli("list", what), *words)


def test_the_papers_checkpoints_keep_their_addresses_whole(cli: Cli) -> None:
    out = cli("list", "paper").out
    assert "resnet50/rigl_erk_1x-80@paper" in out and "rigl_erk1x_80_noLS.pth" in out
    assert "[1] seafile.ist.ac.at/d/91de9650cfb54b77b7d1 (sparse" in out


def test_inspection_and_comparison(cli: Cli, tmp_path: Path) -> None:
    fits(cli("inspect", "resnet18/magnitude-90@generated"), "layer4.1.conv2")
    make_run(seed=1).write(tmp_path / "a")
    make_run(seed=2).write(tmp_path / "b")
    fits(cli("compare", tmp_path / "a", tmp_path / "b"), "resnet18/acdc-90")


def test_the_gate(cli: Cli, tmp_path: Path) -> None:
    make_run(seed=1).write(tmp_path / "a")
    updated = cli("baseline", "update", tmp_path / "a", "--out", tmp_path / "ci.toml",
                  "--reason", "first")  # fmt: skip
    assert updated.code == 0, updated.err
    make_run(seed=2).write(tmp_path / "b")
    fits(cli("check", tmp_path / "b", "--baseline", tmp_path / "ci.toml"), "resnet18/acdc-90 on")


@pytest.mark.parametrize("fetched", [False, True])
def test_the_forecast(cli: Cli, fetched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if fetched:
        monkeypatch.setattr(environments, "interpreter", lambda name: None)
    fits(cli("run", "quick", "--dry-run"), "linear-cached", "resnet18/gmp_uniform-90 on")
