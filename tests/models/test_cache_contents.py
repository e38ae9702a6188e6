"""What the cache holds, what clearing it removes, and that its limit spares what is in use."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from sparsebench.models.cache_contents import DAY, KINDS, clear, held, limit_bytes, trim
from sparsebench.models.errors import SparsebenchError, UnknownNameError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    return tmp_path


def entry(cache: Path, name: str, megabytes: int = 1, days: float = 0.0) -> Path:
    """A folder with one file in it that was used so many days ago."""
    file = cache / name / "data"
    file.parent.mkdir(parents=True)
    file.write_bytes(os.urandom(megabytes << 20))
    then = time.time() - days * DAY
    os.utime(file, (then, then))
    os.utime(file.parent, (then, then))
    return file.parent


def test_every_folder_that_the_suite_makes_is_shown() -> None:
    """A folder that `cache show` does not know would grow unseen."""
    import re

    root = Path(__file__).parents[2]
    made = set()
    for package in ("bench", "exporters", "models"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text()
            made |= set(re.findall(r'cache_dir\("(\w+)"', text))
            made |= {f"tasks/{one}" for one in re.findall(r'cache_folder\("(\w+)"', text)}
    assert made - {"tasks"} == {kind.name for kind in KINDS}


def test_sizes_are_told_largest_first(cache: Path) -> None:
    entry(cache, "features/a", 1)
    entry(cache, "artifacts/a", 2)
    entry(cache, "artifacts/b", 2)
    first, second, *rest = held()
    assert (first.kind.name, first.entries, first.bytes >> 20) == ("artifacts", 2, 4)
    assert (second.kind.name, second.entries) == ("features", 1)
    assert all(one.bytes == one.entries == 0 for one in rest)


def test_clearing_spares_what_would_have_to_be_fetched_or_measured_again(cache: Path) -> None:
    gone = [entry(cache, f"{kind.name}/a") for kind in KINDS if kind.remade]
    stays = [entry(cache, f"{kind.name}/a") for kind in KINDS if not kind.remade]
    assert clear() >= len(gone) << 20
    assert not any(path.exists() for path in gone) and all(path.exists() for path in stays)
    assert clear(["tasks/downloads"]) > 0
    assert not (cache / "tasks" / "downloads" / "a").exists()
    with pytest.raises(UnknownNameError, match="no part of the cache named 'feature'"):
        clear(["feature"])


def test_clearing_by_age_spares_what_was_used_since(cache: Path) -> None:
    old, new = entry(cache, "features/old", days=40), entry(cache, "features/new", days=3)
    clear(unused_for=30 * DAY)
    assert not old.exists() and new.exists()


def test_the_limit_removes_the_oldest_first_and_nothing_of_today(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ages = {"features/a": 9, "artifacts/b": 5, "features/c": 2, "artifacts/d": 0}
    made = {name: entry(cache, name, 2, days) for name, days in ages.items()}
    entry(cache, "tasks/downloads/x", 4, days=99)
    monkeypatch.setenv("SPARSEBENCH_CACHE_LIMIT", "0.005")
    trim()
    assert [name for name, path in made.items() if path.exists()] == ["features/c", "artifacts/d"]
    monkeypatch.setenv("SPARSEBENCH_CACHE_LIMIT", "0")
    trim()
    assert [name for name, path in made.items() if path.exists()] == ["artifacts/d"]
    assert (cache / "tasks" / "downloads" / "x").exists()
    monkeypatch.setenv("SPARSEBENCH_CACHE_LIMIT", "much")
    with pytest.raises(SparsebenchError, match="SPARSEBENCH_CACHE_LIMIT is 'much'"):
        limit_bytes()


def test_what_another_run_removes_meanwhile_is_passed_over(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs on one cache: an export moves into its place while the other run counts bytes."""
    entry(cache, "artifacts/.export-a")
    stays = entry(cache, "artifacts/b", 2)
    scan = os.scandir

    def racing(path: str) -> object:
        if str(path).endswith(".export-a"):
            shutil.rmtree(path)
        return scan(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", racing)
        trim()
    assert [path.name for path in (cache / "artifacts").iterdir()] == ["b"] and stays.exists()


def test_a_folder_that_was_just_made_is_in_use_though_empty(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(cache, "features/a", 2)
    (cache / "artifacts" / ".export-b").mkdir(parents=True)
    monkeypatch.setenv("SPARSEBENCH_CACHE_LIMIT", "0.001")
    trim()
    assert (cache / "artifacts" / ".export-b").exists()


def test_the_parts_that_the_help_names_exist() -> None:
    """Its example was `cache clear features images`, and no part is called so."""
    from sparsebench.bench.cli.cache import CLEAR_EPILOG

    words = CLEAR_EPILOG.replace("--unused-for 30", "").split()
    named = {word for word in words if word not in ("Examples:", "sparsebench", "cache", "clear")}
    assert named and named <= {kind.name for kind in KINDS}
