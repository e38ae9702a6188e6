"""The paper's data sets, each from miniature folders in the exact layouts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.known import SETS
from sparsebench.bench.tasks.known_tasks import FACTS, PAPER_TASKS
from sparsebench.models.errors import SparsebenchError
from tests.bench.tasks import miniatures
from tests.bench.tasks.miniatures import OWNERS, PAPER, split_of

BOTH = [*(("paper", name) for name in PAPER), *(("owners", name) for name in OWNERS)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    miniatures.small_facts(monkeypatch)


def build(form: str, name: str, root: Path) -> Path:
    return {"paper": PAPER, "owners": OWNERS}[form][name](root)


def opened(name: str, root: Path, **options: Any) -> Task:
    return open_task(name, root, cache=root.parent / "cache", download=False, **options)


def listing(task: Task) -> dict[str, dict[str, list[str]]]:
    """Side -> class -> file names, as a task has them."""
    sides: dict[str, dict[str, list[str]]] = {}
    for side in ("train", "test"):
        split = task.split(side)
        for item, label in zip(split.items, split.labels, strict=True):
            name = str(item).rpartition("/")[2]
            sides.setdefault(side, {}).setdefault(task.classes[label], []).append(name)
    return sides


@pytest.mark.parametrize(("form", "name"), BOTH)
def test_the_split_is_the_papers(form: str, name: str, tmp_path: Path) -> None:
    build(form, name, tmp_path / "data")
    task = opened(name, tmp_path / "data")
    expected = {
        side: {
            one.replace("/", "_") if form == "paper" else one: sorted(files)
            for one, files in classes.items()
        }
        for side, classes in split_of(name).items()
    }
    assert listing(task) == expected
    assert task.name == name
    assert task.metric == PAPER_TASKS[name].metric
    assert not task.skipped
    assert not task.notes


@pytest.mark.parametrize(("form", "name"), BOTH)
def test_the_data_folder_may_be_the_data_set_itself(form: str, name: str, tmp_path: Path) -> None:
    place = build(form, name, tmp_path / "data")
    direct = opened(name, place.rename(tmp_path / "called-anything"))
    build(form, name, tmp_path / "again")
    assert direct.sha256 == opened(name, tmp_path / "again").sha256


@pytest.mark.parametrize("name", [n for n in OWNERS if n not in ("sun397",)])
def test_either_layout_is_the_same_task(name: str, tmp_path: Path) -> None:
    """SUN397's class names differ: an ImageFolder has no slashes in them."""
    tasks = []
    for form in ("paper", "owners"):
        build(form, name, tmp_path / form)
        tasks.append(opened(name, tmp_path / form))
    assert tasks[0].sha256 == tasks[1].sha256
    for side in ("train", "test"):
        one, other = (np.asarray(task.read(side, 1)) for task in tasks)
        assert np.array_equal(one, other)


def as_torchvision_lists(name: str, root: Path) -> dict[str, list[tuple[str, str]]]:
    """(file, class) rows of each side, by torchvision's own classes."""
    from torchvision import datasets

    made: dict[str, list[Any]]
    match name:
        case "aircraft":
            made = {
                "train": [datasets.FGVCAircraft(root, "trainval")],
                "test": [datasets.FGVCAircraft(root, "test")],
            }
        case "dtd":
            made = {
                "train": [datasets.DTD(root, "train"), datasets.DTD(root, "val")],
                "test": [datasets.DTD(root, "test")],
            }
        case "flowers102":
            made = {
                "train": [datasets.Flowers102(root, side) for side in ("train", "val")],
                "test": [datasets.Flowers102(root, "test")],
            }
        case "food101":
            made = {side: [datasets.Food101(root, side)] for side in ("train", "test")}
        case "cars":
            made = {side: [datasets.StanfordCars(root, side)] for side in ("train", "test")}
        case _:
            made = {
                "train": [datasets.OxfordIIITPet(root, "trainval")],
                "test": [datasets.OxfordIIITPet(root, "test")],
            }
    rows: dict[str, list[tuple[str, str]]] = {}
    for side, sets in made.items():
        for one in sets:
            files = getattr(one, "_image_files", None) or getattr(one, "_images", None)
            files = files or [path for path, _ in one._samples]
            labels = getattr(one, "_labels", None) or [label for _, label in one._samples]
            names = [f"{n:03d}" for n in range(1, 103)] if name == "flowers102" else one.classes
            rows.setdefault(side, []).extend(
                (Path(file).name, names[label]) for file, label in zip(files, labels, strict=True)
            )
    return rows


@pytest.mark.parametrize("name", ["aircraft", *(n for n in OWNERS if n != "sun397")])
def test_the_owners_layout_is_read_as_torchvision_reads_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    {**PAPER, **OWNERS}[name](tmp_path / "data")
    monkeypatch.setattr("torchvision.datasets.Flowers102._check_integrity", lambda self: True)
    theirs = as_torchvision_lists(name, tmp_path / "data")
    task = opened(name, tmp_path / "data")
    for side, classes in listing(task).items():
        ours = sorted((file, one) for one, files in classes.items() for file in files)
        if name == "pets":  # torchvision writes the class names its own way
            ours = [(file, one.replace("_", " ").title()) for file, one in ours]
        assert ours == sorted(theirs[side])


@pytest.mark.parametrize("name", ["caltech101", "caltech256"])
def test_caltech_trains_on_the_first_images_that_torchvision_lists(
    name: str, tmp_path: Path
) -> None:
    """The published code takes the first 30 or 60 entries of each class and tests the rest."""
    from torchvision import datasets

    PAPER[name](tmp_path / "data")
    shutil.rmtree(tmp_path / "data/caltech256/256_ObjectCategories/056.dog/greg", True)
    theirs = {"caltech101": datasets.Caltech101, "caltech256": datasets.Caltech256}[name](
        str(tmp_path / "data")
    )
    per_class = {"caltech101": 30, "caltech256": 60}[name]
    sides: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for number, label in zip(theirs.index, theirs.y, strict=True):
        sides["train" if number <= per_class else "test"].append((theirs.categories[label], number))
    task = opened(name, tmp_path / "data")
    for side, classes in listing(task).items():
        ours = [(one, int(file[-8:-4])) for one, files in classes.items() for file in files]
        assert sorted(ours) == sorted(sides[side])


def test_what_lies_in_the_wrong_layout_is_named_with_what_was_expected(tmp_path: Path) -> None:
    miniatures.write(tmp_path / "data/pets/Abyssinian/Abyssinian_1.jpg", miniatures.content("x"))
    with pytest.raises(SparsebenchError) as caught:
        opened("pets", tmp_path / "data")
    assert "holds Abyssinian" in caught.value.cause
    assert "train/CLASS/*.jpg and test/CLASS/*.jpg" in caught.value.fix
    assert "annotations/trainval.txt" in caught.value.fix


@pytest.mark.parametrize("name", list(SETS))
def test_what_is_not_there_says_where_it_would_be_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match=f"'{name}' is not in") as caught:
        opened(name, tmp_path / "data")
    assert SETS[name].folders[0] in caught.value.fix


@pytest.mark.parametrize("name", ["pets", "dtd"])
def test_another_number_of_classes_is_another_data_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PAPER[name](tmp_path / "data")
    monkeypatch.setitem(FACTS, name, PAPER_TASKS[name])
    with pytest.raises(SparsebenchError, match=r"has 3 classes, .* has (37|47)") as caught:
        opened(name, tmp_path / "data")
    assert "--task FOLDER" in caught.value.fix


def test_another_number_of_images_is_noted(tmp_path: Path) -> None:
    place = PAPER["birdsnap"](tmp_path / "data")
    next((place / "train/American_Crow").iterdir()).unlink()
    next((place / "test/American_Crow").iterdir()).unlink()
    task = opened("birdsnap", tmp_path / "data")
    assert task.notes[0].startswith("8 train images; the paper's split is reported to have 9")
    assert task.notes[1].startswith("5 test images; the paper's split has 6")


def test_listed_images_that_are_missing_are_no_smaller_task(tmp_path: Path) -> None:
    place = PAPER["aircraft"](tmp_path / "data")
    (place / "data/images/1000001.jpg").unlink()
    with pytest.raises(SparsebenchError, match=r"1 of the 15 images.*1000001.jpg"):
        opened("aircraft", tmp_path / "data")


def altered(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_lists_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    def after(name: str, file: str, old: str, new: str) -> str:
        root = tmp_path / f"{name}{old}{new}".replace("/", "_").replace("\n", "_")
        place = {**PAPER, **OWNERS}[name](root)
        altered(place / file, old, new)
        with pytest.raises(SparsebenchError) as caught:
            opened(name, root)
        assert caught.value.fix
        return caught.value.cause

    trainval = "data/images_variant_trainval.txt"
    assert "line 1 makes no sense" in after("aircraft", trainval, "1000001 707-320", "1000001")
    assert "name twice: data/images/1000001.jpg" in after(
        "aircraft", trainval, "1000002 ", "1000001 "
    )
    assert "lead out of its folder" in after("dtd", "labels/test1.txt", "banded/", "banded/../../")
    assert "'Abyssinian' is class 2 here and 1 elsewhere" in after(
        "pets", "annotations/test.txt", " 1 1 1", " 2 1 1"
    )
    assert "cannot be read" in after("food101", "meta/train.json", "{", "")


def test_a_class_of_one_side_only_is_named(tmp_path: Path) -> None:
    place = PAPER["aircraft"](tmp_path / "data")
    path = place / "data/images_variant_test.txt"
    path.write_text(path.read_text().replace("A300B4", "A310"))
    with pytest.raises(SparsebenchError) as caught:
        opened("aircraft", tmp_path / "data")
    assert "only in train: A300B4; only in test: A310" in caught.value.cause


def test_dtd_classes_that_its_class_file_does_not_know_are_named(tmp_path: Path) -> None:
    place = PAPER["dtd"](tmp_path / "data")
    altered(place / "labels/classes.txt", "blotchy\n", "")
    with pytest.raises(SparsebenchError, match="does not have: blotchy"):
        opened("dtd", tmp_path / "data")


@pytest.mark.parametrize("label", [0, 4])
def test_labels_out_of_range_are_named(label: int, tmp_path: Path) -> None:
    from scipy.io import loadmat, savemat

    place = OWNERS["cars"](tmp_path / "data")
    path = place / "devkit/cars_train_annos.mat"
    table = loadmat(path)["annotations"]
    table[0, 0]["class"] = label
    savemat(path, {"annotations": table})
    with pytest.raises(SparsebenchError, match=f"has the label {label}, but there are 3 classes"):
        opened("cars", tmp_path / "data")


def test_flowers_beyond_the_labels_are_named(tmp_path: Path) -> None:
    from scipy.io import loadmat, savemat

    place = OWNERS["flowers102"](tmp_path / "data")
    ids = {k: v for k, v in loadmat(place / "setid.mat").items() if not k.startswith("__")}
    ids["tstid"][0, 0] = 99
    savemat(place / "setid.mat", ids)
    with pytest.raises(SparsebenchError, match="names image 99, but 15 have a label"):
        opened("flowers102", tmp_path / "data")


def test_a_caltech_class_too_small_for_its_split_is_named(tmp_path: Path) -> None:
    place = PAPER["caltech101"](tmp_path / "data")
    for number in (31, 32):
        (place / f"101_ObjectCategories/accordion/image_{number:04d}.jpg").unlink()
    with pytest.raises(SparsebenchError, match=r"accordion \(30\)"):
        opened("caltech101", tmp_path / "data")


def test_undecodable_images_are_skipped_and_noted(tmp_path: Path) -> None:
    place = PAPER["aircraft"](tmp_path / "data")
    (place / "data/images/1000001.jpg").write_bytes(b"\xff\xd8 broken")
    task = opened("aircraft", tmp_path / "data")
    assert len(task.skipped) == 1
    assert task.notes[0].startswith("8 train images")
    with pytest.raises(SparsebenchError, match="cannot be decoded"):
        opened("aircraft", tmp_path / "data", strict=True)


def test_other_folders_beside_a_data_set_are_not_walked(tmp_path: Path) -> None:
    place = PAPER["pets"](tmp_path / "data")
    miniatures.write(place / "else/big/1.jpg", b"x")
    assert opened("pets", tmp_path / "data").ignored == 0


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = PAPER["caltech101"](tmp_path / "data")

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SparsebenchError, match="Permission denied") as caught:
        opened("caltech101", tmp_path / "data")
    assert str(place) in caught.value.cause
