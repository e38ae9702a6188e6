"""The facts against arithmetic on what the data sets' owners say of them as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsebench.bench.tasks import TASKS, open_task
from sparsebench.bench.tasks.known_tasks import FACTS, PAPER_TASKS, facts_of
from tests.bench.tasks.miniatures import PAPER


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("aircraft", 100 * 100),  # 100 images of each variant
        ("caltech101", 8_677),  # 9,144 less 467 of the background
        ("caltech256", 30_607),
        ("cars", 16_185),
        ("cifar10", 60_000),
        ("cifar100", 60_000),
        ("dtd", 47 * 120),
        ("flowers102", 8_189),
        ("food101", 101_000),
        ("pets", 7_349),
        ("sun397", 397 * (50 + 50)),
    ],
)
def test_both_sides_make_up_the_whole(name: str, whole: int) -> None:
    assert FACTS[name].train + FACTS[name].test == whole


@pytest.mark.parametrize(
    ("name", "per_class"),
    [("caltech101", 30), ("caltech256", 60), ("flowers102", 10 + 10), ("food101", 750)],
)
def test_training_images_of_each_class(name: str, per_class: int) -> None:
    assert FACTS[name].train == per_class * FACTS[name].classes


def test_there_are_twelve_and_all_are_registered() -> None:
    assert len(PAPER_TASKS) == 12
    assert set(FACTS) <= set(TASKS)


def test_five_are_measured_per_class() -> None:
    """In the paper's raw results theirs alone are no whole numbers of test images."""
    per_class = {name for name, facts in PAPER_TASKS.items() if facts.metric == "mean_per_class"}
    assert per_class == {"aircraft", "caltech101", "caltech256", "flowers102", "pets"}


def test_a_limited_task_keeps_its_facts_and_others_have_none() -> None:
    assert facts_of("cars:500") is FACTS["cars"]
    assert facts_of("my-folder") is None
    assert facts_of("hf:cars") is None


@pytest.mark.parametrize("name", list(PAPER_TASKS))
def test_statistics_lie_where_photographs_lie(name: str) -> None:
    facts = PAPER_TASKS[name]
    assert facts.mean is not None
    assert facts.std is not None
    assert all(0.3 < value < 0.6 for value in facts.mean)
    assert all(0.19 < value < 0.33 for value in facts.std)


def listed(*arguments: str, width: int = 80) -> str:
    import os
    from unittest import mock

    from typer.testing import CliRunner

    from sparsebench.bench.cli import app

    with mock.patch.dict(os.environ, {"COLUMNS": str(width)}):
        result = CliRunner().invoke(app, ["list", "tasks", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_shows_classes_sizes_metric_origin_and_presence(tmp_path: Path) -> None:
    PAPER["pets"](tmp_path)
    for width in (80, 200):
        lines = {
            line.split()[0]: line.split()
            for line in listed("--data-dir", str(tmp_path), width=width).splitlines()
        }
        assert lines["pets"][1:7] == ["37", "3680?", "3669?", "mean_per_class", "yes", "download"]
        assert lines["cars"][1:8] == ["196", "8144", "8041", "top1", "no", "your", "copy"]
        assert {"hf:OWNER/NAME", "DIRECTORY", "fashion-mnist"} <= set(lines)
    rows = {row["task"]: row for row in json.loads(listed("--json"))}
    assert rows["aircraft"]["train"] == 6667
    assert rows["digits"]["here"] == "yes"


def test_an_image_folder_of_other_classes_is_not_taken_for_a_set(tmp_path: Path) -> None:
    place = PAPER["pets"](tmp_path)
    lines = {line.split()[0]: line for line in listed("--data-dir", str(place)).splitlines()}
    assert " yes " not in lines["cars"]
    assert " yes " not in lines["pets"]  # three classes, not 37
    for number in range(37 - 3):
        (place / f"train/breed{number}").mkdir()
    lines = {line.split()[0]: line for line in listed("--data-dir", str(place)).splitlines()}
    assert " yes " in lines["pets"]
    assert " yes " not in lines["cars"]


def test_facts_agree_with_what_opens_everywhere() -> None:
    task, facts = open_task("digits"), FACTS["digits"]
    assert (len(task.classes), len(task.train), len(task.test), task.metric) == (
        *(facts.classes, facts.train, facts.test),
        facts.metric,
    )
