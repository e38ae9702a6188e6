"""Compiled modules are kept in the cache where Python may not keep them beside the sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# What the command line does first, then an import by it and one by a process it starts.
SCRIPT = """
import subprocess, sys
from sparsebench.exporters.worker.bytecode import keep_bytecode
keep_bytecode()
import one
subprocess.run([sys.executable, "-c", "import two"], check=True)
"""


def run(folder: Path, **variables: str) -> list[Path]:
    """The compiled files below `folder` after the script."""
    modules = folder / "modules"
    modules.mkdir()
    for name in ("one", "two"):
        (modules / f"{name}.py").write_text("VALUE = 1\n")
    names = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"PYTHONPATH": f"{modules}:{ROOT}", "SPARSEBENCH_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment | variables)
    return [path for path in folder.rglob("*.pyc") if path.stem.split(".")[0] in ("one", "two")]


def test_modules_are_compiled_once_though_python_must_not_write_them(tmp_path: Path) -> None:
    found = run(tmp_path, PYTHONDONTWRITEBYTECODE="1")
    assert len(found) == 2
    assert all(path.is_relative_to(tmp_path / "cache" / "bytecode") for path in found)


def test_a_place_that_the_user_chose_is_used(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    found = run(tmp_path, PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX=str(chosen))
    assert len(found) == 2
    assert all(path.is_relative_to(chosen) for path in found)


def test_python_is_left_alone_where_nothing_forbids_it(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert len(found) == 2
    assert all(path.is_relative_to(tmp_path / "modules") for path in found)
    assert not (tmp_path / "cache" / "bytecode").exists()


@pytest.mark.parametrize("place", ["/proc/none", "/dev/null/none"])
def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path, place: str) -> None:
    assert run(tmp_path, PYTHONDONTWRITEBYTECODE="1", SPARSEBENCH_CACHE=place) == []
