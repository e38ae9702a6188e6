"""A quiet run and its baseline, for tests that change one of the two."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsebench.bench.gate import baseline_of, write_baseline
from tests.bench.gate.changed import QUIET, TWO
from tests.bench.synthetic import make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quiet run and its baseline."""
    folder = tmp_path_factory.mktemp("accepted")
    run = make_run(seed=1, backbones=TWO, **QUIET).write(folder / "before")
    write_baseline(folder / "baseline.toml", baseline_of(run, "first").baseline)
    return folder


@pytest.fixture
def accepted(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the baseline, beside its run; no noise floor of the machine that runs the tests."""
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "baseline.toml"
