"""YOLO's text files: a line ``class x y width height`` a box, as shares of the image."""

from __future__ import annotations

import re
from collections import Counter

from sparsebench.bench.tasks.detection.annotated import (
    Annotated,
    Box,
    Faults,
    refuse_unknown_classes,
)
from sparsebench.bench.tasks.detection.layout import NAME_FILES, Found
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.endings import is_image_name
from sparsebench.models.images.text import printable
from sparsebench.models.images.tree import Tree

MOST_BYTES = 4 * 2**20
ALONE = "label file(s) without an image: left out"


def read_yolo(
    tree: Tree, found: Found, faults: Faults
) -> tuple[tuple[str, ...], tuple[list[Annotated], list[Annotated]]]:
    """Class names, and the annotated images of the train and the test side.

    An image without a text file, or with an empty one, shows nothing: such images are kept.

    Raises:
        SparsebenchError: no class names, a line that is none, or a class number out of range.
    """
    names = next(name for name in NAME_FILES if found.prefix + name in tree.stamps)
    path = found.prefix + names
    classes = class_names(tree.read(path, MOST_BYTES).decode("utf-8", "replace"), names)
    if not classes:
        raise SparsebenchError(
            f"'{printable(path)}' of '{tree.where}' names no classes.",
            "List them there: names: [cat, dog] in data.yaml, or a line each in classes.txt.",
        )
    unknown: Counter[str] = Counter()
    sides = [_side(tree, found, side, classes, unknown, faults) for side in found.sides]
    refuse_unknown_classes(unknown, classes, str(tree.where))
    return classes, (sides[0], sides[1])


def _side(
    tree: Tree,
    found: Found,
    side: str,
    classes: tuple[str, ...],
    unknown: Counter[str],
    faults: Faults,
) -> list[Annotated]:
    prefix = found.prefix
    places = [
        (f"{prefix}images/{side}/", f"{prefix}labels/{side}/"),
        (f"{prefix}{side}/images/", f"{prefix}{side}/labels/"),
        (f"{prefix}{side}/", f"{prefix}{side}/"),
    ]
    image_prefix, labels = next(
        (one for one in places if any(p.startswith(one[1]) for p in tree.stamps)), places[-1]
    )
    texts = {
        p.removesuffix(".txt")[len(labels) :]: p
        for p in tree.stamps
        if p.startswith(labels) and p.endswith(".txt")
    }
    images = []
    for path in sorted(p for p in tree.stamps if p.startswith(image_prefix) and is_image_name(p)):
        text = texts.pop(path[len(image_prefix) :].rpartition(".")[0], None)
        one = Annotated(path, relative=True)
        if text is not None:
            one.boxes = _boxes(tree, text, len(classes), unknown)
        images.append(one)
    for text in texts.values():
        if text.rpartition("/")[2] not in NAME_FILES:
            faults.add(ALONE, text)
    return images


def _boxes(tree: Tree, path: str, classes: int, unknown: Counter[str]) -> list[Box]:
    boxes = []
    lines = tree.read(path, MOST_BYTES).decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.split():
            continue
        try:
            kind, *place = line.split()
            label = int(kind)
            x, y, width, height = map(float, place)
        except ValueError as error:
            raise SparsebenchError(
                f"Line {number} of '{printable(path)}' of '{tree.where}' is not 'class x y width "
                f"height': {printable(line[:80])}.",
                "Export the boxes (no polygons) again.",
            ) from error
        if not 0 <= label < classes:
            unknown[str(label)] += 1
            continue
        boxes.append(Box(label, x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return boxes


def class_names(text: str, file: str) -> tuple[str, ...]:
    """Class names of a list of lines, or of the entry ``names`` of a small YAML file.

    Of YAML the three forms are read that such files have: ``names: [a, b]``, a list of ``- a``, and
    ``0: a`` for each number.

    Args:
        text: of the file.
        file: its name: ``.yaml`` and ``.yml`` are YAML.
    """
    if not file.endswith((".yaml", ".yml")):
        return tuple(printable(line.strip()) for line in text.splitlines() if line.strip())
    lines = [line.split(" #")[0].rstrip() for line in text.splitlines()]
    start = next((i for i, line in enumerate(lines) if line.startswith("names:")), None)
    if start is None:
        return ()
    rest = lines[start].removeprefix("names:").strip()
    block = [rest]
    for line in lines[start + 1 :]:
        if line and not line.startswith((" ", "-", "]", "\t")):
            break
        block.append(line.strip())
    if rest.startswith(("[", "{")):
        entries = re.split(r",", " ".join(block).strip("[]{} "))
    else:
        entries = [line.removeprefix("-") for line in block]
    bare = (re.sub(r"^\d+\s*:", "", entry.strip()).strip().strip("'\"") for entry in entries)
    return tuple(printable(name) for name in bare if name)
