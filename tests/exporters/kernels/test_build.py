"""Compiling the kernels: once, and clear words where it cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.engines.native import NativeEngine
from exporters.kernels import build as building
from exporters.kernels.build import build, chosen_isa
from models.errors import SparsebenchError, UnknownNameError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that holds nothing, and a cache of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    return folder


def compiler(folder: Path, text: str) -> None:
    script = folder / "g++"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)


def test_without_a_compiler_the_engine_is_not_available_and_says_why(path: Path) -> None:
    found = NativeEngine().available()
    assert not found.ok
    assert "C++ compiler" in found.reason and "apt-get install g++" in found.mend
    with pytest.raises(SparsebenchError, match="none is on the PATH"):
        build("portable", "float32")


def test_a_compiler_that_fails_is_quoted(path: Path) -> None:
    compiler(path, 'echo "convolve.cpp:1: error: unknown option -std=c++20" >&2; exit 1')
    with pytest.raises(SparsebenchError, match=r"unknown option -std=c\+\+20"):
        build("portable", "float32")


def test_a_file_is_compiled_once_and_again_when_the_compiler_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = path.parent / "calls"
    touch = f'for last; do :; done; echo call >> {calls}; : > "$last"'
    compiler(path, f'case "$1" in --version) echo 1;; *) {touch};; esac')
    first = build("portable", "float32")
    count = len(calls.read_text().splitlines())
    assert count == len(building.UNITS) + 1  # and the linking
    assert build("portable", "float32") == first
    assert len(calls.read_text().splitlines()) == count
    compiler(path, f'case "$1" in --version) echo 2;; *) {touch};; esac')
    assert build("portable", "float32") != first


def test_an_instruction_set_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", "portable")
    assert chosen_isa() == "portable"
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", "avx-512")
    with pytest.raises(UnknownNameError, match="avx512"):
        chosen_isa()
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", "avx2")
    monkeypatch.setattr(building, "supported_isas", lambda: ("portable",))
    with pytest.raises(SparsebenchError, match="has no avx2"):
        chosen_isa()
