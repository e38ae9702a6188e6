"""Two folders of one name are two tasks, in names, records, tables and commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsebench.bench.plan.rerun_command import run_words
from sparsebench.bench.tasks.naming import distinct_names
from sparsebench.models.errors import SparsebenchError
from tests.bench.conftest import Result
from tests.bench.run.small import TINY


def folders(root: Path, *names: str) -> list[str]:
    for name in names:
        (root / name).mkdir(parents=True)
    return [str(root / name) for name in names]


def test_as_few_parents_as_tell_them_apart(tmp_path: Path) -> None:
    pics = folders(tmp_path, "x/pics", "y/pics", "other")
    assert list(distinct_names(["digits", *pics]).values()) == [
        "digits", "x/pics", "y/pics", "other",
    ]  # fmt: skip
    deep = folders(tmp_path, "a/in/pics", "b/in/pics")
    assert list(distinct_names(deep).values()) == ["a/in/pics", "b/in/pics"]
    # A registered name keeps its own; the folder of that name says where it is.
    (digits,) = folders(tmp_path, "here/digits")
    assert distinct_names(["digits", digits])[digits] == "here/digits"
    (tmp_path / "x/pics.tar").touch()
    assert distinct_names([pics[0], str(tmp_path / "x/pics.tar")])[pics[0]] == "pics"


def test_one_folder_under_two_paths_is_refused(tmp_path: Path) -> None:
    (pics,) = folders(tmp_path, "pics")
    (tmp_path / "link").symlink_to(tmp_path / "pics")
    with pytest.raises(SparsebenchError, match="are one: "):
        distinct_names([pics, str(tmp_path / "link")])


def test_a_run_keeps_two_folders_of_one_name_apart(
    cli: Callable[..., Result], images: Path, tmp_path: Path
) -> None:
    for parent in ("x", "y"):
        shutil.copytree(images, tmp_path / parent / "pics")
    for side in ("train", "test"):  # other images than those of x
        shutil.rmtree(tmp_path / "y/pics" / side / "light")
        shutil.copytree(tmp_path / "y/pics" / side / "dark", tmp_path / "y/pics" / side / "light")
    plan = tmp_path / "small.toml"
    plan.write_text("min_seconds = 0.01\nrepeats = 1\ndiscards = 0\nseeds = [1]\n")
    tasks = [word for parent in "xy" for word in ("--task", tmp_path / parent / "pics")]
    small = ("--size", 32, "--batch-size", 8, "--threads", 1, "--epochs", 2, "--limit", 24)
    done = cli(
        "run", plan, *tasks, *small, "--backbone", TINY, "--engine", "onnxruntime",
        "--workload", "linear-cached", "--out", tmp_path / "R",
    )  # fmt: skip
    assert done.code == 0, done.err
    records = [json.loads(line) for line in (tmp_path / "R/records.jsonl").read_text().splitlines()]
    named = {(r["task"]["name"], r["task"]["sha256"]) for r in records}
    assert {name for name, _ in named} == {"x/pics:24", "y/pics:24"} and len(named) == 2
    summary = (tmp_path / "R/summary.md").read_text()
    assert "| x/pics:24 |" in summary and "| y/pics:24 |" in summary
    words = run_words(
        tmp_path / "R",
        workload="linear-cached",
        task="y/pics:24",
        backbone="b",
        engines=[],
        settings={},
    )
    assert words[-1] == str(tmp_path / "y/pics")
