"""Compiling the kernels: once, and clear words where it cannot be done."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.kernels.compiled import build as building
from sparsebench.exporters.kernels.compiled import library as compiled
from sparsebench.exporters.kernels.compiled.build import (
    Sources,
    build,
    chosen_isa,
    find_compiler,
    load,
)
from sparsebench.exporters.kernels.compiled.library import Library, library
from sparsebench.models.errors import SparsebenchError, UnknownNameError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that holds nothing, and a cache of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    return folder


def compiler(folder: Path, text: str, name: str = "g++") -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)


def test_without_a_compiler_the_engine_is_not_available_and_says_why(path: Path) -> None:
    found = NativeEngine().available()
    assert not found.ok
    assert "C++ compiler" in found.reason and "apt-get install g++" in found.fix
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
    assert count == len(building.BASE.units) + 1  # and the linking
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


def test_an_instruction_set_given_by_hand_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first call of a function would end the process."""
    monkeypatch.setattr(building, "supported_isas", lambda: ("portable",))
    with pytest.raises(SparsebenchError, match=r"has no avx512\. It runs portable"):
        library("float32", "avx512")
    with pytest.raises(UnknownNameError, match="no instruction set named 'avx-512'"):
        library("float32", "avx-512")
    with pytest.raises(UnknownNameError, match="no data type named 'float16'"):
        library("float16", "portable")


def test_a_wrong_setting_is_the_reason_that_the_engine_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", "bogus")
    found = NativeEngine().available()
    assert not found.ok and "no instruction set named 'bogus'" in found.reason
    assert "Reinstall" not in found.fix and "avx512" in found.fix


# What it was given to write, empty; asked for its version it writes nothing.
WRITES = 'for last; do :; done; case "$last" in /*) : > "$last";; esac'


def test_what_was_compiled_before_needs_no_compiler(path: Path) -> None:
    compiler(path, f'case "$1" in --version) echo 1;; *) {WRITES};; esac')
    made = build("portable", "float32")
    (path / "g++").unlink()
    assert find_compiler() is None
    assert build("portable", "float32") == made
    with pytest.raises(SparsebenchError, match="none is on the PATH"):
        build("portable", "float64")


def test_the_engine_is_available_with_kernels_that_were_compiled_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", "portable")
    compiler(path, f'case "$1" in --version) echo 1;; *) {WRITES};; esac')
    made = build("portable", "float32")
    (path / "g++").unlink()
    assert NativeEngine().available().ok
    made.write_bytes(b"cut off")
    assert not NativeEngine().available().ok


def test_cxx_may_hold_arguments_and_what_it_names_must_be_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(path, f'test "$1" = g++ || exit 1; {WRITES}', name="ccache")
    monkeypatch.setenv("CXX", "ccache g++")
    assert find_compiler() == (str(path / "ccache"), "g++")
    assert build("portable", "float32").exists()
    for wrong, words in (("icpc -O3", "'icpc', which is not"), ("g++ '", "cannot be read")):
        monkeypatch.setenv("CXX", wrong)
        with pytest.raises(SparsebenchError, match=words):
            find_compiler()
        found = NativeEngine().available()
        assert not found.ok and "CXX" in found.reason and "CXX" in found.fix


def test_two_that_need_the_same_library_compile_it_once(path: Path) -> None:
    calls = path.parent / "calls"
    slowly = f"echo call >> {calls}; /bin/sleep 0.2; {WRITES}"
    compiler(path, f'case "$1" in --version) echo 1;; *) {slowly};; esac')
    found: list[Path] = []
    both = [
        threading.Thread(target=lambda: found.append(build("portable", "float32")))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(found) == 2 and found[0] == found[1]
    assert len(calls.read_text().splitlines()) == len(building.BASE.units) + 1


def test_whoever_is_killed_while_compiling_holds_nobody_up(path: Path) -> None:
    compiler(path, f'case "$1" in --version) echo 1;; *) {WRITES};; esac')
    target = build("portable", "float32")
    target.unlink()
    hold = (
        "import os, pathlib, signal, sys; "
        "from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", hold, str(target.with_suffix(".lock"))], check=False
    )
    assert done.returncode == -9 and target.with_suffix(".lock").exists()
    assert build("portable", "float32") == target and target.exists()


def test_a_cache_that_cannot_be_written_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(path, f'case "$1" in --version) echo 1;; *) {WRITES};; esac')

    def refuse(file: object, *_: object) -> int:
        raise OSError(30, "Read-only file system", str(file))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SparsebenchError, match="Read-only file system.*SPARSEBENCH_CACHE"):
        build("portable", "float32")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    """A library of one function, compiled in a moment, and a cache of its own."""
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "source"
    folder.mkdir()
    text = 'extern "C" int answer() { return 42; }\nchar room[100000] = {1};\n'
    (folder / "small.cpp").write_text(text)
    return Sources("small", "small kernels", folder, (("small", "small.cpp", "-DSMALL"),))


@pytest.mark.parametrize("left", [0, 20, 60_000])
def test_a_library_that_was_cut_off_is_compiled_again(small: Sources, left: int) -> None:
    made = build("portable", "float32", small)
    whole = made.read_bytes()
    made.write_bytes(whole[:left])  # loading the longest of them would end the process
    assert load("portable", "float32", small).answer() == 42
    assert len(made.read_bytes()) == len(whole)


def test_a_library_that_never_loads_is_a_clear_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = path.parent / "calls"
    compiler(path, f'case "$1" in --version) echo 1;; *) echo call >> {calls}; {WRITES};; esac')
    with pytest.raises(SparsebenchError, match="sparse kernels cannot be loaded: .*too short"):
        load("portable", "float32")
    assert len(calls.read_text().splitlines()) == 2 * (len(building.BASE.units) + 1)


@pytest.fixture
def base() -> Library:
    """The kernels, from the cache of all tests; no part of them is loaded yet."""
    if find_compiler() is None:
        pytest.skip("no C++ compiler")
    return Library(chosen_isa(), "float32")


@pytest.fixture
def parts(base: Library, small: Sources, monkeypatch: pytest.MonkeyPatch) -> dict[str, Sources]:
    """Parts that do nothing and are compiled in a moment, into a cache of their own."""
    found = {}
    for name in building.PARTS:
        (small.folder / f"{name}.cpp").write_text(f'extern "C" void sparse_{name}() {{}}\n')
        found[name] = replace(small, name=name, units=((name, f"{name}.cpp", "-DPART"),))
    monkeypatch.setattr(compiled, "PARTS", found)
    return found


def kept() -> set[str]:
    """Of which parts there is a compiled library."""
    folder = Path(os.environ["SPARSEBENCH_CACHE"]) / "kernels"
    return {file.name.split("-")[0] for file in folder.glob("*.so")}


def test_a_part_is_compiled_when_it_is_first_asked_for(
    parts: dict[str, Sources], base: Library
) -> None:
    """The loops over patterns take a minute of a core, and generated code never calls them."""
    assert kept() == set()
    first = base.backward
    assert kept() == {"backward"}
    assert base.backward is first
    with pytest.raises(AttributeError, match="no function 'backwards'"):
        base.backwards()


def test_all_parts_are_prepared_before_a_clock_starts(
    parts: dict[str, Sources], base: Library
) -> None:
    base.prepare()
    assert kept() == set(parts)
    for name in parts:
        assert name in vars(base)  # loaded: nothing is left to do at the first call


def test_a_part_without_a_compiler_is_a_clear_error(
    parts: dict[str, Sources], base: Library, path: Path
) -> None:
    for ask in (lambda: base.forward1, base.prepare):
        with pytest.raises(SparsebenchError, match=r"need a C\+\+ compiler"):
            ask()


def test_a_part_depends_on_its_own_file_and_the_headers() -> None:
    """So that a change to one does not compile the others again."""
    for name, sources in building.PARTS.items():
        files = {file.name for file in sources.files()}
        assert {"convolve.cpp", "convolve.h", "plan.h"} <= files, name
        assert "elementwise.cpp" not in files
    assert "convolve.cpp" not in {file.name for file in building.BASE.files()}
