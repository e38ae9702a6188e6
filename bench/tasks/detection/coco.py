"""COCO's JSON: ``categories``, ``images`` and ``annotations`` of one side in one file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sparsebench.bench.tasks.detection.annotated import (
    TWICE,
    Annotated,
    Box,
    Faults,
    refuse_unknown_classes,
)
from sparsebench.bench.tasks.detection.layout import ROBOFLOW, Found
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.text import printable, shortened
from sparsebench.models.images.tree import Tree

MOST_BYTES = 128 * 2**20
"""Of a JSON file: as Python's objects it takes some ten times as much memory."""
LOST = "annotation(s) of an image that the file does not list: left out"


def read_coco(
    tree: Tree, found: Found, faults: Faults
) -> tuple[tuple[str, ...], tuple[list[Annotated], list[Annotated]]]:
    """Class names, and the annotated images of the train and the test side.

    Classes are identified by their names, in the order of the train side's numbers.

    Raises:
        SparsebenchError: a file that is no such JSON, too large, or whose sides have other
            classes; boxes of a category that the file does not list.
    """
    files = [_json_of(tree, found.prefix, side) for side in found.sides]
    data = [_parsed(tree, path) for path in files]
    names = [_categories(one, path) for one, path in zip(data, files, strict=True)]
    classes = tuple(name for _, name in sorted(names[0].items(), key=lambda item: item[0]))
    if set(classes) != set(names[1].values()) or len(set(classes)) != len(classes):
        raise SparsebenchError(
            f"'{files[0]}' and '{files[1]}' list other categories, or one twice.",
            "Give both files the same categories, each once.",
        )
    sides = [
        _images(tree, found, side, one, path, classes, kinds, faults)
        for side, one, path, kinds in zip(found.sides, data, files, names, strict=True)
    ]
    return classes, (sides[0], sides[1])


def _json_of(tree: Tree, prefix: str, side: str) -> str:
    tried = (
        f"{prefix}{side}.json",
        f"{prefix}annotations/{side}.json",
        f"{prefix}annotations/instances_{side}.json",
        f"{prefix}{side}/{ROBOFLOW}",
        f"{prefix}instances_{side}.json",
    )
    return next(path for path in tried if path in tree.stamps)


def _parsed(tree: Tree, path: str) -> dict[str, Any]:
    try:
        data = json.loads(tree.read(path, MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise SparsebenchError(
            f"'{printable(path)}' of '{tree.where}' is no readable JSON ({error}).",
            "Export the annotations again.",
        ) from error
    lists = ("categories", "images", "annotations")
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in lists):
        raise SparsebenchError(
            f"'{printable(path)}' of '{tree.where}' is no COCO file: it needs the lists "
            "'categories', 'images' and 'annotations'.",
            "Export the boxes as COCO's object detection format.",
        )
    return data


def _categories(data: dict[str, Any], path: str) -> dict[int, str]:
    try:
        told = [(int(one["id"]), printable(str(one["name"]))) for one in data["categories"]]
    except (KeyError, TypeError, ValueError) as error:
        raise _entry(path, "category", error) from error
    if not told:
        raise SparsebenchError(
            f"'{printable(path)}' lists no categories.",
            "Export them with their classes.",
        )
    _refuse_doubles([number for number, _ in told], "category", path)
    return dict(told)


def _refuse_doubles(numbers: Sequence[Any], kind: str, path: str) -> None:
    """Of two entries with one number nobody can tell whose the boxes are."""
    doubles = [str(number) for number, count in Counter(numbers).items() if count > 1]
    if doubles:
        raise SparsebenchError(
            f"'{printable(path)}' has {len(doubles)} number(s) that several entries of kind {kind} "
            f"have: {shortened(doubles)}.",
            "Give each entry an id of its own.",
        )


def _images(
    tree: Tree,
    found: Found,
    side: str,
    data: dict[str, Any],
    path: str,
    classes: Sequence[str],
    kinds: dict[int, str],
    faults: Faults,
) -> list[Annotated]:
    label_of = {number: classes.index(name) for number, name in kinds.items()}
    places = (f"{side}/", f"images/{side}/", f"{side}/images/", "images/", "")
    images: dict[Any, Annotated] = {}
    by_path: dict[str, Annotated] = {}
    numbers: list[Any] = []
    try:
        for one in data["images"]:
            name = str(one["file_name"]).removeprefix("./")
            paths = [f"{found.prefix}{place}{name}" for place in places]
            place = next((p for p in paths if p in tree.stamps), paths[0])
            sides = one.get("width"), one.get("height")
            size = None if None in sides else (int(sides[0]), int(sides[1]))
            if place in by_path:
                faults.add(TWICE, place)
            numbers.append(one["id"])
            images[one["id"]] = by_path.setdefault(place, Annotated(place, size=size))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _entry(path, "image", error) from error
    _refuse_doubles(numbers, "image", path)
    unknown: Counter[str] = Counter()
    lost: list[Any] = []
    try:
        for one in data["annotations"]:
            image, label = images.get(one["image_id"]), label_of.get(one["category_id"])
            if label is None:
                unknown[printable(str(one["category_id"]))] += 1
            elif image is None:
                faults.add(LOST, f"{side} annotation {one.get('id', '?')}")
                lost.append(one["image_id"])
            else:
                x, y, width, height = _four(one["bbox"], one.get("id", "?"))
                crowd = bool(one.get("iscrowd", 0))
                image.boxes.append(Box(label, x, y, x + width, y + height, crowd))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _entry(path, "annotation", error) from error
    refuse_unknown_classes(unknown, classes, path)
    if lost and len(lost) == len(data["annotations"]):
        raise SparsebenchError(
            f"Every annotation of '{printable(path)}' is of an image that it does not list: "
            f"image_id {lost[0]!r} and the like, where images have ids like "
            f"{next(iter(images), None)!r}.",
            "Export the annotations again; a number and its digits in quotes are two ids.",
        )
    return list(by_path.values())


def _four(box: Any, number: Any) -> tuple[float, ...]:
    """A box's left, top, width and height.

    Raises:
        ValueError: it is not four numbers; names the annotation.
    """
    numbers = isinstance(box, list) and all(isinstance(v, int | float) for v in box)
    if not numbers or len(box) != 4:
        raise ValueError(
            f"the bbox of annotation {number} is {str(box)[:60]}, not [x, y, width, height]"
        )
    return tuple(map(float, box))


def _entry(path: str, kind: str, error: Exception) -> SparsebenchError:
    said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
    return SparsebenchError(
        f"'{printable(path)}' has an entry of kind {kind} that cannot be read: {said}.",
        "Export the annotations again.",
    )
