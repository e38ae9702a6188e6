from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.tasks import TASKS, open_task
from sparsebench.bench.tasks.arrays import array_task
from sparsebench.bench.tasks.base import Task, TaskOptions
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from tests.bench.tasks.samples import image_files, write_folder, write_tar


def two_dots(options: TaskOptions) -> Task:
    """Dark and bright images, for these tests."""
    pixels = np.zeros((8, 6, 6), np.uint8)
    pixels[1::2] = 200
    labels = np.arange(8) % 2
    return array_task("dots", ["dark", "bright"], pixels, labels, np.arange(4), np.arange(4, 8))


def test_a_task_of_another_package_is_one_line_of_registration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TASKS._targets, "dots", f"{__name__}:two_dots")
    task = open_task("dots", metric="mean_per_class")
    assert (task.name, task.metric, len(task.train)) == ("dots", "mean_per_class", 4)


def test_a_folder_and_its_tars_are_the_same_task(tmp_path: Path) -> None:
    files = image_files()
    folder = write_folder(tmp_path / "trees", files)
    plain = write_tar(tmp_path / "trees.tar", files)
    wrapped = {f"some/{name}": data for name, data in files.items()}
    tasks = [
        open_task(str(path), cache=tmp_path / "cache")
        for path in (
            folder,
            plain,
            write_tar(tmp_path / "trees.tar.gz", files, "w:gz"),
            write_tar(tmp_path / "trees.tgz", wrapped, "w:gz"),
            write_tar(tmp_path / "trees.tar.xz", files, "w:xz"),
            write_tar(tmp_path / "trees.tar.bz2", files, "w:bz2"),
        )
    ]
    assert {task.name for task in tasks} == {"trees"}
    assert {task.classes for task in tasks} == {("ash", "oak")}
    assert len({task.sha256 for task in tasks}) == 1
    pixels = [np.asarray(task.read("test", 5)) for task in tasks]
    assert all(np.array_equal(pixels[0], other) for other in pixels[1:])


def test_paths_are_also_looked_up_below_the_data_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "data" / "trees", image_files())
    write_tar(tmp_path / "data" / "more.tar", image_files())
    assert len(open_task("trees", tmp_path / "data", cache=tmp_path / "c").train) == 8
    assert len(open_task("more.tar", tmp_path / "data", cache=tmp_path / "c").test) == 6


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        open_task("digit")
    with pytest.raises(UnknownNameError, match="sparsebench list tasks"):
        open_task("nothing-like-it")


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "set.tar.gz"])
def test_a_path_to_nothing_says_so(name: str) -> None:
    with pytest.raises(SparsebenchError, match="no folder or archive"):
        open_task(name)


def test_an_unknown_metric_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="mean_per_class"):
        open_task(str(tmp_path), metric="mean_per_clas")


def test_a_limit_changes_name_and_digest(tmp_path: Path) -> None:
    whole = open_task("digits")
    part = open_task("digits", limit=100)
    assert part.name == "digits:100"
    assert part.sha256 != whole.sha256
    assert part.sha256 == open_task("digits", limit=100).sha256
    assert len(part.train) + len(part.test) == 100
    assert open_task("digits", limit=5000).sha256 == whole.sha256


def test_the_record_entry_has_the_documented_keys() -> None:
    entry = open_task("digits").describe()
    assert set(entry) == {"name", "classes", "train", "test", "metric", "sha256"}
    assert entry["train"] + entry["test"] == 1797
