"""Engine environments: named by content, refused with a reason, declared in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsebench.exporters.worker import environments
from sparsebench.models.errors import SparsebenchError, UnknownNameError


def test_another_platform_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert "Linux only" in environments.unsupported("neuralmagic")
    with pytest.raises(SparsebenchError, match="cannot be built.*Linux only"):
        environments.install("neuralmagic")


def test_an_unbuilt_environment_has_no_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("SPARSEBENCH_PYTHON_NEURALMAGIC", raising=False)
    assert environments.interpreter("neuralmagic") is None
    assert environments.remove("neuralmagic") is False


def test_an_override_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_PYTHON_NEURALMAGIC", "/opt/elsewhere/bin/python")
    assert environments.interpreter("neuralmagic") == Path("/opt/elsewhere/bin/python")


def test_a_failed_build_leaves_nothing_that_looks_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("SPARSEBENCH_PYTHON_NEURALMAGIC", raising=False)
    monkeypatch.setattr(environments, "_uv", lambda: "/bin/false")
    with pytest.raises(SparsebenchError, match="package index reachable"):
        environments.install("neuralmagic")
    assert environments.interpreter("neuralmagic") is None


def test_it_is_filled_with_the_pinned_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SPARSEBENCH_PYTHON_NEURALMAGIC", raising=False)
    uv = tmp_path / "uv"
    uv.write_text(
        f'#!/bin/sh\nfor last; do :; done\nmkdir -p "$last/bin"\necho "$@" >> {tmp_path}/asked\n'
    )
    uv.chmod(0o755)
    monkeypatch.setattr(environments, "_uv", lambda: str(uv))
    python = environments.install("neuralmagic")
    made, filled = (tmp_path / "asked").read_text().splitlines()
    assert made.startswith("venv") and made.endswith(str(python.parent.parent))
    assert filled.startswith(f"pip install --python {python} deepsparse==1.8.0; ")
    assert "numpy<2; " in filled


def test_unknown_environments_are_named() -> None:
    with pytest.raises(UnknownNameError):
        environments.environment("conda")
