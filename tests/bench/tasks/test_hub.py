"""Data sets of the Hugging Face hub: the real library, local folders in its format."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from sparsebench.bench.plan.plan import load_plan
from sparsebench.bench.plan.validation import check
from sparsebench.bench.tasks import hub, open_task
from sparsebench.bench.tasks.hub import HubImages
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from tests.bench.tasks.samples import encoded, image_files, sample_image, write_folder

NAMES = ["ash", "oak"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def rows(labels: Sequence[int], seed: int = 0) -> dict[str, list[Any]]:
    images = [{"bytes": encoded(sample_image(seed + i)), "path": None} for i in range(len(labels))]
    return {"image": images, "label": list(labels)}


def features(names: Sequence[str] = NAMES) -> Any:
    return datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    )


def parquet(folder: Path, sides: dict[str, tuple[dict[str, list[Any]], Any]]) -> str:
    """A folder as the hub has them; returns its task name."""
    (folder / "data").mkdir(parents=True)
    for side, (table, kinds) in sides.items():
        made = datasets.Dataset.from_dict(table, features=kinds)
        made.to_parquet(str(folder / f"data/{side}-00000-of-00001.parquet"))
    return f"hf:{folder}"


def two_sides(folder: Path, test: str = "test") -> str:
    return parquet(
        folder,
        {"train": (rows([0, 1, 0, 1]), features()), test: (rows([1, 0], 50), features())},
    )


@pytest.mark.parametrize("test", ["test", "validation"])
def test_images_labels_and_classes_are_the_tables(tmp_path: Path, test: str) -> None:
    name = two_sides(tmp_path / "set", test)
    task = open_task(name, cache=tmp_path / "c")
    assert (task.name, task.classes, task.metric) == (name, ("ash", "oak"), "top1")
    assert task.train.labels.tolist() == [0, 1, 0, 1]
    assert task.test.labels.tolist() == [1, 0]
    theirs = datasets.load_dataset(str(tmp_path / "set"))[test][1]["image"].convert("RGB")
    assert np.array_equal(np.asarray(task.read("test", 1)), np.asarray(theirs))


def test_an_image_folder_is_the_same_images_through_the_library(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "trees", image_files())
    ours, theirs = (open_task(name, cache=tmp_path / "c") for name in (str(folder), f"hf:{folder}"))
    assert theirs.classes == ours.classes
    assert theirs.train.labels.tolist() == ours.train.labels.tolist()
    for index in range(len(ours.test)):
        one, other = (np.asarray(task.read("test", index)) for task in (ours, theirs))
        assert np.array_equal(one, other)


def test_it_is_the_same_every_time_and_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = two_sides(tmp_path / "set")
    first = open_task(name, cache=tmp_path / "c")

    def refuse(self: HubImages, item: str) -> bytes:
        raise AssertionError(f"{item} was read again")

    monkeypatch.setattr(HubImages, "read_bytes", refuse)
    assert open_task(name, cache=tmp_path / "c").sha256 == first.sha256


def test_images_can_be_read_in_another_process(tmp_path: Path) -> None:
    task = open_task(two_sides(tmp_path / "set"), cache=tmp_path / "c")
    copy = pickle.loads(pickle.dumps(task))
    assert np.array_equal(np.asarray(copy.read("train", 2)), np.asarray(task.read("train", 2)))


def test_a_plan_may_name_it() -> None:
    check(load_plan("quick").with_changes(tasks=("hf:someone/something",)))
    with pytest.raises(UnknownNameError):
        check(load_plan("quick").with_changes(tasks=("hub-someone",)))


def test_bad_images_are_skipped_and_named(tmp_path: Path) -> None:
    table = rows([0, 1, 0, 1])
    table["image"][1] = {"bytes": b"\xff\xd8 broken", "path": None}
    table["image"][2] = None
    sides = {"train": (table, features()), "test": (rows([0, 1], 50), features())}
    table["label"] = [0, 1, 0, 1]
    task = open_task(parquet(tmp_path / "set", sides), cache=tmp_path / "c")
    assert [line.split(":")[0] for line in task.skipped] == ["train/1", "train/2"]
    assert "there is no image" in task.skipped[1]
    assert task.train.labels.tolist() == [0, 1]


def refusal(tmp_path: Path, sides: dict[str, tuple[dict[str, list[Any]], Any]]) -> SparsebenchError:
    with pytest.raises(SparsebenchError) as caught:
        open_task(parquet(tmp_path / "set", sides), cache=tmp_path / "c")
    assert caught.value.fix
    return caught.value


def test_rows_without_a_label_are_refused(tmp_path: Path) -> None:
    sides = {"train": (rows([0, 1]), features()), "test": (rows([-1, -1]), features())}
    assert "test side" in refusal(tmp_path, sides).cause
    assert "the label -1, but 2 classes" in refusal(tmp_path / "b", sides).cause


def test_one_side_is_no_task(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"train": (rows([0, 1]), features())})
    assert "no test or testing or val" in error.cause
    assert "it has train" in error.cause


def test_other_columns_are_named(tmp_path: Path) -> None:
    kinds = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    table = {"image": rows([0, 1])["image"], "caption": ["a", "b"]}
    error = refusal(tmp_path, {"train": (table, kinds), "test": (table, kinds)})
    assert "image (Image), caption (Value)" in error.cause


def test_labels_without_names_become_classes(tmp_path: Path) -> None:
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    sides = {}
    for side, labels in (("train", ["b", "a"]), ("test", ["a", "b"])):
        sides[side] = ({"image": rows([0, 1])["image"], "label": labels}, kinds)
    task = open_task(parquet(tmp_path / "set", sides), cache=tmp_path / "c")
    assert task.classes == ("a", "b")
    assert task.train.labels.tolist() == [1, 0]


def test_what_cannot_be_had_says_so(tmp_path: Path) -> None:
    for name in ("hf:", f"hf:{tmp_path}/nothing"):
        with pytest.raises(SparsebenchError) as caught:
            open_task(name, cache=tmp_path / "c", download=False)
        assert caught.value.fix


def test_without_the_library_its_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SparsebenchError, match="not installed") as caught:
        open_task("hf:someone/something")
    assert caught.value.fix == hub.INSTALL


def test_configuration_and_revision_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load(path: str, config: str | None, **options: Any) -> Any:
        asked.append((path, config, options["revision"]))
        raise FileNotFoundError("not here")

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "reach", lambda url: None)
    for name in ("hf:a/b", "hf:a/b@v1", "hf:a/b#small", "hf:a/b@v1#small"):
        with pytest.raises(SparsebenchError, match="not here"):
            open_task(name, cache=tmp_path)
    assert asked == [
        ("a/b", None, None),
        ("a/b", None, "v1"),
        ("a/b", "small", None),
        ("a/b", "small", "v1"),
    ]


def test_a_hub_out_of_reach_is_said_instead_of_tried_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def load(*names: Any, **options: Any) -> Any:
        asked.append(datasets.config.HF_HUB_OFFLINE)
        raise ConnectionError("offline mode")

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "reach", lambda url: "no such host")
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(SparsebenchError, match="cannot be reached from here, no such host"):
        open_task("hf:a/b", cache=tmp_path)
    assert asked == [True]
    assert before == datasets.config.HF_HUB_OFFLINE
