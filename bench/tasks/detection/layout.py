"""Which annotation format a folder or archive is in, and where its parts lie.

Formats are told by names alone, at most two levels deep:

- COCO: ``train.json`` beside ``train/``, ``annotations/instances_train.json`` (also with a year) or
  ``train/_annotations.coco.json``;
- Pascal VOC: ``Annotations/``, ``JPEGImages/`` and ``ImageSets/Main/``, or XML files beside the
  images of ``train/``;
- YOLO: ``images/train/`` and ``labels/train/``, ``train/images/`` and ``train/labels/``, or text
  files beside the images of ``train/``; class names in ``data.yaml``, ``classes.txt`` or
  ``obj.names``.

``test/`` may be called ``val/``, ``valid/`` or ``validation/``; one wrapping folder is looked into.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.endings import is_image_name
from sparsebench.models.images.layout import TEST_NAMES, TRAIN_NAMES
from sparsebench.models.images.text import shortened

ROBOFLOW = "_annotations.coco.json"
NAME_FILES = ("data.yaml", "data.yml", "classes.txt", "obj.names")
"""Where YOLO's class names are, the first that is there."""
TOPS = (*(*TRAIN_NAMES, *TEST_NAMES, "images", "labels", "annotations", "jpegimages", "imagesets"),)
"""Folders that a detection set may hold, in small letters; nothing else is walked."""
EXPECTED = (
    "Expected: COCO's JSON (train.json beside train/), Pascal VOC's XML or YOLO's text files "
    "for a train and a test (or val) side."
)
_YEAR = re.compile(r"(19|20)\d\d$")


@dataclass(frozen=True)
class Found:
    """An annotation format and where its sides are.

    Attributes:
        format: ``coco``, ``voc`` or ``yolo``.
        prefix: of the wrapping folder, empty or with its slash.
        sides: (name of the train side, name of the test side) as the names say them.
    """

    format: str
    prefix: str
    sides: tuple[str, str]


def find_format(names: Collection[str], where: str) -> Found | None:
    """The format that these names show; None for images without boxes.

    Args:
        names: paths of files, and of folders with a slash behind.
        where: how messages call the root.

    Raises:
        SparsebenchError: annotations of one side only; YOLO's labels without names of classes.
    """
    below = [name for name in names if not _hidden(name)]
    prefix = _wrapper(below)
    inner = {name[len(prefix) :] for name in below if name.startswith(prefix)}
    for kind, sides in (("coco", _coco(inner)), ("voc", _voc(inner)), ("yolo", _yolo(inner))):
        if not sides:
            continue
        by_lower = {_YEAR.sub("", side).lower(): side for side in sorted(sides)}
        train = next((by_lower[n] for n in (*TRAIN_NAMES, "trainval") if n in by_lower), None)
        test = next((by_lower[n] for n in TEST_NAMES if n in by_lower), None)
        if train is None or test is None:
            missing = "train" if train is None else "test"
            raise SparsebenchError(
                f"'{where}' has boxes ({kind}) for {shortened(sorted(sides))} and none for a "
                f"{missing} side.",
                EXPECTED,
            )
        return Found(kind, prefix, (train, test))
    if any(name.startswith("labels/") for name in inner) and any(
        name.startswith("images/") for name in inner
    ):
        raise SparsebenchError(
            f"'{where}' has images/ and labels/, and no names of the classes.",
            f"List them in {NAME_FILES[0]} (names: [cat, dog]) or a line each in {NAME_FILES[2]}.",
        )
    return None


def _coco(names: Collection[str]) -> set[str]:
    """Sides with a JSON file."""
    found = set()
    for name in names:
        folder, _, file = name.rpartition("/")
        stem = file.removesuffix(".json")
        if not file.endswith(".json"):
            continue
        if file == ROBOFLOW and _is_side(folder):
            found.add(folder)
        side = stem.removeprefix("instances_")
        # Beside folders of classes a JSON file is about something else.
        if _is_side(side) and (
            folder == "annotations" or (not folder and not _holds_classes(names, side))
        ):
            found.add(side)
    return found


def _voc(names: Collection[str]) -> set[str]:
    """Sides with a list of images, or with XML files beside them."""
    if any(name.startswith("Annotations/") for name in names):
        lists = [n for n in names if n.startswith("ImageSets/Main/") and n.endswith(".txt")]
        sides = {n.rpartition("/")[2].removesuffix(".txt") for n in lists}
        # Told from folders alone, before anything below is read.
        return {s for s in sides if _is_side(s) or s == "trainval"} or {"train", "test"}
    beside = (n for n in names if n.endswith(".xml") and n.count("/") == 1)
    return {side for n in beside if _is_side(side := n.partition("/")[0])}


def _yolo(names: Collection[str]) -> set[str]:
    """Sides with labels, where class names are beside them."""
    if not any(name in names for name in NAME_FILES):
        return set()
    found = set()
    for name in names:
        first, _, rest = name.partition("/")
        second = rest.partition("/")[0]
        if first == "labels" and _is_side(second):
            found.add(second)
        elif _is_side(first) and (second == "labels" or (rest == second and rest.endswith(".txt"))):
            found.add(first)
    return found


def _holds_classes(names: Collection[str], side: str) -> bool:
    """Whether a side's folder holds folders and no image of its own."""
    own = [name[len(side) + 1 :] for name in names if name.startswith(f"{side}/")]
    nested = any("/" in name and not name.startswith("images/") for name in own)
    return nested and not any(is_image_name(name) for name in own if "/" not in name)


def _is_side(name: str) -> bool:
    return _YEAR.sub("", name).lower() in (*TRAIN_NAMES, *TEST_NAMES)


def _hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/") if part)


def _wrapper(names: Collection[str]) -> str:
    tops = {name.partition("/")[0] for name in names}
    top = next(iter(tops), "")
    inside = any(name.startswith(f"{top}/") for name in names)
    return f"{top}/" if len(tops) == 1 and inside and top.lower() not in TOPS else ""
