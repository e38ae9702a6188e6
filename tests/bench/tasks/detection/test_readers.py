from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsebench.bench.tasks import open_task
from sparsebench.bench.tasks.detection import coco, voc
from sparsebench.bench.tasks.detection.task import DetectionTask
from sparsebench.bench.tasks.detection.yolo import class_names
from sparsebench.models.errors import SparsebenchError
from tests.bench.tasks.detection import sets


def opened(path: Path, tmp_path: Path, **options: Any) -> DetectionTask:
    task = open_task(str(path), cache=tmp_path / "cache", **options)
    assert isinstance(task, DetectionTask)
    return task


def truth(seed: int, count: int) -> list[list[tuple[int, int, int, int, int]]]:
    return [sorted(one.boxes) for one in sets.shown(count, seed)]


def told(task: DetectionTask, side: str) -> list[list[tuple[int, ...]]]:
    split = task.train if side == "train" else task.test
    return [
        sorted(
            (int(label), *np.round([x1, y1, x2 - x1, y2 - y1]).astype(int).tolist())
            for label, (x1, y1, x2, y2) in zip(one.labels, one.corners, strict=True)
        )
        for one in split.boxes
    ]


@pytest.mark.parametrize("format", sets.WRITERS)
@pytest.mark.parametrize("held", ["folder", "tar"])
def test_every_format_gives_the_same_boxes(format: str, held: str, tmp_path: Path) -> None:
    root = sets.WRITERS[format](tmp_path / "squares")
    path = root if held == "folder" else sets.packed(root, tmp_path / "squares.tar")
    task = opened(path, tmp_path)
    assert task.classes == sets.CLASSES
    assert (task.name, task.metric, task.kind.name) == ("squares", "map50", "detection")
    assert told(task, "train") == truth(0, 8)
    assert told(task, "test") == truth(1, 4)
    assert task.faults == ()
    assert task.read("test", 0).size == (64, 48)


def test_a_tar_has_the_digest_of_its_images_and_boxes(tmp_path: Path) -> None:
    one = opened(sets.write_coco(tmp_path / "a"), tmp_path)
    data = json.loads((tmp_path / "a" / "test.json").read_text())
    data["annotations"][0]["bbox"][0] += 1
    (tmp_path / "a" / "test.json").write_text(json.dumps(data))
    assert opened(tmp_path / "a", tmp_path).sha256 != one.sha256


def test_a_limit_keeps_boxes_with_their_images(tmp_path: Path) -> None:
    task = opened(sets.write_coco(tmp_path / "a"), tmp_path, limit=6)
    assert (len(task.train), len(task.test), task.name) == (4, 2, "a:6")
    kept = [int(str(item)[-7:-4]) for item in task.train.items]
    assert told(task, "train") == [truth(0, 8)[i] for i in kept]


def changed_coco(
    root: Path, change: Callable[[dict[str, Any]], object], side: str = "train"
) -> Path:
    sets.write_coco(root)
    file = root / f"{side}.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    return root


def set_box(*box: float) -> Callable[[dict[str, Any]], object]:
    return lambda data: data["annotations"][0].update(bbox=list(box))


@pytest.mark.parametrize(
    ("change", "said", "left"),
    [
        (set_box(5, 5, 0, 9), "1 box(es) of zero size", 15),
        (set_box(5, 5, -3, 9), "1 box(es) of zero size", 15),
        (set_box(5, 5, float("nan"), 9), "1 box(es) of zero size", 15),
        (set_box(70, 5, 9, 9), "1 box(es) outside their image", 15),
        (set_box(60, 5, 9, 9), "1 box(es) reach over the edge", 16),
        (lambda d: d["annotations"][0].update(image_id=9999), "1 annotation(s) of an image", 15),
        (
            lambda d: d["images"][0].update(file_name="gone.png"),
            "1 annotated image(s) that are",
            14,
        ),
        (set_box(0.2, 0.2, 0.4, 0.4), "1 box(es) smaller than a pixel", 15),
        (lambda d: d["images"][0].update(width=63), "000.png is 64x48, not 63x48", 14),
        (lambda d: d["images"][0].update(file_name="gone.png"), "without an annotation", 14),
    ],
)
def test_what_does_not_fit_is_counted_and_named(
    change: Callable[[dict[str, Any]], object], said: str, left: int, tmp_path: Path
) -> None:
    task = opened(changed_coco(tmp_path / "a", change), tmp_path)
    assert any(said in note for note in task.notes)
    assert task.train.counts(2).sum() == left
    if "reach over" in said:
        assert task.train.boxes[0].corners.max() == 64
    else:
        with pytest.raises(SparsebenchError, match="left out"):
            opened(tmp_path / "a", tmp_path, strict=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["annotations"][0].update(category_id=99), r"1 box.*none of the 2: 99 \(1\)"),
        (lambda d: d["categories"].append({"id": 5, "name": "third"}), "other categories"),
        (lambda d: d.pop("images"), "no COCO file"),
        (lambda d: d["images"][0].pop("id"), "lacks 'id'"),
        (lambda d: d["annotations"][1].update(bbox=[1, 2, 3]),
         r"bbox of annotation 1 is \[1, 2, 3\], not \[x, y, width, height\]"),
        (lambda d: d["annotations"][0].update(bbox=None), "bbox of annotation 0 is None"),
        (lambda d: d["annotations"][0].update(bbox=["1", 2, 3, 4]), "bbox of annotation 0 is"),
        (lambda d: [one.update(image_id=str(one["image_id"])) for one in d["annotations"]],
         "Every annotation.*image_id '100' .* ids like 100"),
        (lambda d: d.update(categories=[]), "lists no categories"),
        (lambda d: [one.update(bbox=[v / 64 for v in one["bbox"]]) for one in d["annotations"]],
         "lose most.*16 .*smaller than a pixel"),
        (lambda d: d.update(annotations=[a for a in d["annotations"] if a["category_id"] == 7]),
         "no train box of light"),
        (lambda d: d["images"][1].update(id=100), r"1 number.*kind image have: 100"),
        (lambda d: d["categories"][1].update(id=7), r"1 number.*kind category have: 7"),
        (lambda d: [one.update(width=9) for one in d["images"]], "lose most"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(
    change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SparsebenchError, match=said):
        opened(changed_coco(tmp_path / "a", change), tmp_path)


@pytest.mark.parametrize("size", [{"width": None, "height": None}, {"height": None}])
def test_an_image_without_a_stated_size_is_read(size: dict[str, None], tmp_path: Path) -> None:
    root = changed_coco(tmp_path / "a", lambda d: [one.update(size) for one in d["images"]])
    assert told(opened(root, tmp_path), "train") == truth(0, 8)


def test_labels_without_names_of_classes_say_what_is_missing(tmp_path: Path) -> None:
    root = sets.write_yolo(tmp_path / "a")
    (root / "data.yaml").unlink()
    with pytest.raises(SparsebenchError, match=r"no names of the classes.*data\.yaml"):
        opened(root, tmp_path)


def test_an_image_on_both_sides_is_counted_and_named(tmp_path: Path) -> None:
    root = sets.write_coco(tmp_path / "a")
    (root / "test" / "001.png").write_bytes((root / "train" / "003.png").read_bytes())
    task = opened(root, tmp_path)
    assert any(
        "1 image(s) that lie on both sides" in note and "test/001.png" in note
        for note in task.notes
    )


def test_a_category_without_any_box_is_left_out_and_named(tmp_path: Path) -> None:
    root = sets.write_coco(tmp_path / "a")
    for side in sets.SIDES:
        data = json.loads((root / f"{side}.json").read_text())
        data["categories"].insert(0, {"id": 1, "name": "unused"})
        (root / f"{side}.json").write_text(json.dumps(data))
    task = opened(root, tmp_path)
    assert task.classes == sets.CLASSES
    assert told(task, "test") == truth(1, 4)
    assert any("unused" in note for note in task.notes)


@pytest.mark.parametrize("text", ["{", "[1, 2", "[" * 100_000, '{"images": 1}', "\x00"])
def test_a_json_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    root = sets.write_coco(tmp_path / "a")
    (root / "train.json").write_text(text)
    with pytest.raises(SparsebenchError, match=r"train\.json"):
        opened(root, tmp_path)


def test_a_huge_json_file_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coco, "MOST_BYTES", 100)
    with pytest.raises(SparsebenchError, match="larger than"):
        opened(sets.write_coco(tmp_path / "a"), tmp_path)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    "<annotation><object><name>&b;</name></object></annotation>"
)
FILE = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation>&f;</annotation>'


@pytest.mark.parametrize("text", [BOMB, BOMB.encode("utf-16"), FILE])
def test_xml_with_a_document_type_is_refused(text: str | bytes, tmp_path: Path) -> None:
    root = sets.write_voc(tmp_path / "a")
    data = text if isinstance(text, bytes) else text.encode()
    (root / "Annotations" / "train_000.xml").write_bytes(data)
    with pytest.raises(SparsebenchError, match=r"document type|no readable"):
        opened(root, tmp_path)


def test_the_document_type_is_told_before_anything_is_expanded() -> None:
    with pytest.raises(ValueError, match="document type"):
        voc._refuse_document_type(BOMB.encode())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<xmin>", "<xxx>", "no readable Pascal VOC"),
        ("<name>", "<nome>", "no readable Pascal VOC"),
        ("<xmax>", "<xmax>NaN", "no readable Pascal VOC"),
    ],
)
def test_an_xml_file_with_holes_is_refused_by_name(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    root = sets.write_voc(tmp_path / "a")
    file = root / "Annotations" / "train_003.xml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(SparsebenchError, match=said) as caught:
        opened(root, tmp_path)
    assert "train_003.xml" in str(caught.value)


def test_what_voc_calls_difficult_is_no_training_box_and_no_target(tmp_path: Path) -> None:
    root = sets.write_voc(tmp_path / "a")
    file = root / "Annotations" / "test_000.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))
    task = opened(root, tmp_path)
    assert task.test.boxes[0].crowd.tolist() == [True, False]
    assert task.test.counts(2).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2 0.5 0.5 0.1 0.1", r"1 box\(es\) .* none of the 2: 2 \(1\)"),
        ("-1 0.5 0.5 0.1 0.1", "none of the 2: -1"),
        ("0 0.5 0.5 0.1", "Line 3 of"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6", "Line 3 of"),
        ("cat 0.5 0.5 0.1 0.1", "Line 3 of"),
    ],
)
def test_a_line_of_yolo_that_cannot_be_meant_is_refused(
    line: str, said: str, tmp_path: Path
) -> None:
    root = sets.write_yolo(tmp_path / "a")
    with (root / "labels/train/000.txt").open("a") as file:
        file.write(f"\n{line}")
    with pytest.raises(SparsebenchError, match=said):
        opened(root, tmp_path)


def test_an_image_without_a_label_file_shows_nothing(tmp_path: Path) -> None:
    root = sets.write_yolo(tmp_path / "a")
    (root / "labels/train/000.txt").unlink()
    (root / "labels/train/lost.txt").write_text("0 0.5 0.5 0.1 0.1")
    task = opened(root, tmp_path)
    assert len(task.train.boxes[0].labels) == 0
    assert len(task.train) == 8
    assert any("label file(s) without an image" in note for note in task.notes)


@pytest.mark.parametrize(
    ("text", "file", "names"),
    [
        ("names: [cat, 'dog']\nnc: 2", "data.yaml", ("cat", "dog")),
        ("nc: 2\nnames:\n  - cat\n  - dog\n", "data.yaml", ("cat", "dog")),
        ("names:\n  0: cat\n  1: dog # good\npath: x", "data.yml", ("cat", "dog")),
        ("names: [cat,\n  dog]", "data.yaml", ("cat", "dog")),
        ("names: {0: cat, 1: dog}", "data.yaml", ("cat", "dog")),
        ("nc: 2", "data.yaml", ()),
        ("cat\ndog\n\n", "classes.txt", ("cat", "dog")),
    ],
)
def test_class_names_are_read_in_every_usual_form(
    text: str, file: str, names: tuple[str, ...]
) -> None:
    assert class_names(text, file) == names


def test_boxes_of_one_side_alone_are_refused(tmp_path: Path) -> None:
    root = sets.write_coco(tmp_path / "a")
    (root / "test.json").unlink()
    with pytest.raises(SparsebenchError, match="none for a test side"):
        opened(root, tmp_path)


def test_a_metric_of_another_kind_of_task_is_refused(tmp_path: Path) -> None:
    root = sets.write_coco(tmp_path / "a")
    assert opened(root, tmp_path, metric="map50_95").metric == "map50_95"
    with pytest.raises(SparsebenchError, match="detection task, which has no metric 'top1'"):
        opened(root, tmp_path, metric="top1")


def test_an_image_folder_whose_classes_have_such_names_stays_one(tmp_path: Path) -> None:
    for side in sets.SIDES:
        for seed, name in enumerate(("images", "labels")):
            sets.images_of(tmp_path / "a", f"{side}/{name}", sets.shown(2, seed))
    task = open_task(str(tmp_path / "a"), cache=tmp_path / "cache")
    assert (task.kind.name, task.classes) == ("classification", ("images", "labels"))


def test_files_beside_and_inside_class_folders_make_no_boxes(tmp_path: Path) -> None:
    for side in sets.SIDES:
        for seed, name in enumerate(("ash", "oak")):
            sets.images_of(tmp_path / "a", f"{side}/{name}", sets.shown(2, seed))
            (tmp_path / "a" / side / name / "notes.txt").write_text("0 0 0 0 0")
            (tmp_path / "a" / side / name / "notes.xml").write_text("<a/>")
        (tmp_path / "a" / f"{side}.json").write_text("{}")
    (tmp_path / "a" / "classes.txt").write_text("ash\noak")
    for path in (tmp_path / "a", sets.packed(tmp_path / "a", tmp_path / "a.tar")):
        task = open_task(str(path), cache=tmp_path / "cache")
        assert (task.kind.name, task.classes) == ("classification", ("ash", "oak"))


def test_xml_and_text_files_beside_the_images_are_read(tmp_path: Path) -> None:
    for seed, side in enumerate(sets.SIDES):
        some = sets.shown(4, seed)
        for form in ("voc", "yolo"):
            names = sets.images_of(tmp_path / form, side, some)
            for name, one in zip(names, some, strict=True):
                width, height = one.size
                place = tmp_path / form / side / name[:-4]
                if form == "voc":
                    place.with_suffix(".xml").write_text(sets.voc_xml(one, name))
                else:
                    place.with_suffix(".txt").write_text(
                        "\n".join(
                            f"{k} {(x + w / 2) / width} {(y + h / 2) / height} "
                            f"{w / width} {h / height}"
                            for k, x, y, w, h in one.boxes
                        )
                    )
    (tmp_path / "yolo" / "classes.txt").write_text("dark\nlight")
    for form in ("voc", "yolo"):
        task = opened(tmp_path / form, tmp_path)
        assert told(task, "test") == truth(1, 4)
        assert task.faults == ()


def test_annotations_inside_a_side_are_found_among_many_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsebench.models.images.tree._MOST_ENTRIES", 3)
    root = sets.write_coco(tmp_path / "a")
    for side in sets.SIDES:
        (root / f"{side}.json").rename(root / side / "_annotations.coco.json")
    assert told(opened(root, tmp_path), "test") == truth(1, 4)
