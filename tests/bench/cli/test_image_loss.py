"""Images that are left out: said by every command that reads them, refused where they are most."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.present.tables import sections, terminal_tables
from tests.bench.conftest import Result
from tests.bench.synthetic import SyntheticRun, make_run

Cli = Callable[..., Result]


def lossy(images: Path, root: Path, lost: int) -> Path:
    """A copy of 12 dark and 12 light training images of which `lost` dark ones are .heic files."""
    shutil.copytree(images, root)
    for path in sorted((root / "train" / "dark").iterdir())[:lost]:
        path.rename(path.with_suffix(".heic"))
    return root


def test_a_run_that_would_lose_most_of_a_class_is_refused_until_one_agrees(
    cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    root = lossy(images, tmp_path / "lossy", 10)
    command = ("run", "quick", "--task", root, "--dry-run")
    refused = cli(*command)
    assert refused.code == 2
    assert "train/dark keeps 2 of 12 images (left out: 10 .heic)" in refused.err
    assert "--allow-image-loss" in refused.err
    assert cli(*command, "--allow-image-loss").code == 0
    strict = cli("run", "quick", "--task", lossy(images, tmp_path / "few", 1), "--strict",
                 "--out", tmp_path / "R")  # fmt: skip
    assert strict.code == 2 and "1 .heic" in strict.err


def test_the_terminal_and_the_summary_say_what_was_left_out_by_class_and_ending() -> None:
    made = make_run(blocks=2)
    left_out = {
        "train/cat": {"kept": 3, "left_out": {".heic": 2, ".jpg that cannot be decoded": 1}}
    }
    records = [replace(r, extra={**r.extra, "task_left_out": left_out}) for r in made.records]
    found = sections(records, made.trials, compare_run(records, made.trials))
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in terminal_tables(found, records):
        console.print(part)
    for text in (console.export_text(), SyntheticRun(records, made.trials).markdown()):
        words = " ".join(text.split())
        assert "train/cat keeps 3 of 6 images" in words
        assert "2 .heic, 1 .jpg that cannot be decoded" in words
