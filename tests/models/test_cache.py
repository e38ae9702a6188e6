"""Where the cache is, and what happens where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import SparsebenchError

ASK = "from sparsebench.models.cache import cache_dir; print(cache_dir('a')); print(cache_dir())"


def test_a_home_that_cannot_be_written_gets_a_temporary_cache(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, so nothing can be made below it")
    own = {key: value for key, value in os.environ.items()
           if key not in ("SPARSEBENCH_CACHE", "XDG_CACHE_HOME")}  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**own, "HOME": str(home), "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    inner, outer = map(Path, told.stdout.split())
    assert inner == outer / "a" and outer.parent == tmp_path
    assert told.stderr.count("cannot be written") == 1 and str(outer) in told.stderr
    assert not outer.exists()


def test_a_folder_that_was_asked_for_is_used_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "c"))
    assert cache_dir("x") == tmp_path / "c" / "x"
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "file" / "c"))
    with pytest.raises(SparsebenchError, match="cannot be made"):
        cache_dir()
