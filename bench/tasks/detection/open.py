"""Opening a detection task: annotations and images joined, and what does not fit counted."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from sparsebench.bench.tasks.base import TaskOptions
from sparsebench.bench.tasks.detection.annotated import (
    CUT,
    MISSING,
    OTHER_SIZE,
    TWICE,
    UNLISTED,
    Annotated,
    Faults,
    checked_boxes,
)
from sparsebench.bench.tasks.detection.boxes import Boxes, BoxSplit, image_labels
from sparsebench.bench.tasks.detection.coco import read_coco
from sparsebench.bench.tasks.detection.layout import Found
from sparsebench.bench.tasks.detection.task import DetectionTask
from sparsebench.bench.tasks.detection.voc import read_voc
from sparsebench.bench.tasks.detection.yolo import read_yolo
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.endings import is_image_name
from sparsebench.models.images.scan import checked_files
from sparsebench.models.images.text import printable, shortened
from sparsebench.models.images.tree import Tree

READERS = {"coco": read_coco, "voc": read_voc, "yolo": read_yolo}
UNDECODABLE = "image(s) that cannot be decoded: left out"
NO_BOX = "class(es) without a box on either side: left out"
BOTH = "image(s) that lie on both sides: what is found on them was trained on"
HARMLESS = (CUT, TWICE, NO_BOX, BOTH)


def open_detection(tree: Tree, found: Found, options: TaskOptions) -> DetectionTask:
    """The task in a folder or archive of a known annotation format.

    Args:
        tree: its files.
        found: the format and its sides.
        options: see :class:`TaskOptions`.

    Raises:
        SparsebenchError: annotations that cannot be read, a class number that no class has, a
            class without boxes on one side; a side that loses most of its images or boxes; with
            ``strict`` anything that is left out.
    """
    faults = Faults()
    classes, sides = READERS[found.format](tree, found, faults)
    _note_unlisted(tree, found, sides, faults)
    read = [_side(tree, one, classes, options, faults) for one in sides]
    used = {int(label) for side in read for _, boxes, _ in side for label in boxes.labels}
    for number, name in enumerate(classes):
        if number not in used:
            faults.add(NO_BOX, name)
    trained_on = {sha256 for _, _, sha256 in read[0]}
    for path, _, sha256 in read[1]:
        if sha256 in trained_on:
            faults.add(BOTH, path)
    names = tuple(name for number, name in enumerate(classes) if number in used)
    place = {number: i for i, number in enumerate(sorted(used))}
    digest = hashlib.sha256(b"sparsebench detection 1\n" + json.dumps(names).encode())
    splits = []
    for kind, side in zip(("train", "test"), read, strict=True):
        boxes = tuple(_renumbered(one, place) for _, one, _ in side)
        for (path, _, sha256), one in zip(side, boxes, strict=True):
            row = [
                kind,
                path,
                sha256,
                one.labels.tolist(),
                one.corners.tolist(),
                one.crowd.tolist(),
            ]
            digest.update(json.dumps(row).encode() + b"\n")
        splits.append(BoxSplit([p for p, _, _ in side], image_labels(boxes, len(names)), boxes))
    serious = [line for key, line in zip(faults.found, faults.lines(), strict=True)
               if key not in HARMLESS]  # fmt: skip
    if options.strict and serious:
        raise SparsebenchError(
            f"'{tree.where}': {'; '.join(serious)}.", "Correct them, or leave out --strict."
        )
    return DetectionTask(
        name=printable(tree.name),
        classes=names,
        train=splits[0],
        test=splits[1],
        sha256=digest.hexdigest(),
        store=tree.store,
        skipped=tree.refused,
        faults=tuple(faults.lines()),
    )


def _side(
    tree: Tree,
    images: Sequence[Annotated],
    classes: Sequence[str],
    options: TaskOptions,
    faults: Faults,
) -> list[tuple[str, Boxes, str]]:
    """Path, boxes and sha256 of each image of a side that can be used."""
    there = []
    for image in images:
        if image.path in tree.stamps:
            there.append(image)
        else:
            faults.add(MISSING, image.path)
    paths = [image.path for image in there]
    checked = checked_files(paths, tree.store, tree.stamps, tree.where, options)
    with ThreadPoolExecutor(options.threads()) as pool:
        sizes = list(pool.map(lambda p: None if checked[p].reason else _size(tree, p), paths))
    kept, given, read = [], 0, 0
    for image, size in zip(there, sizes, strict=True):
        if size is None:
            faults.add(UNDECODABLE, f"{image.path}: {checked[image.path].reason}")
        elif image.size not in (None, size):
            stated = "x".join(map(str, image.size or ()))
            true = "x".join(map(str, size))
            faults.add(OTHER_SIZE, f"{image.path} is {true}, not {stated}")
        else:
            boxes = checked_boxes(image, size, classes, faults)
            given, read = given + len(image.boxes), read + len(boxes.labels)
            kept.append((image.path, boxes, checked[image.path].sha256))
    if not options.allow_image_loss and (2 * len(kept) < len(images) or 2 * read < given):
        raise SparsebenchError(
            f"'{tree.where}' would lose most of a side's images or boxes: "
            f"{shortened(faults.lines(), 3)}.",
            "Correct the annotations; or agree with --allow-image-loss (allow_image_loss = true in "
            "a plan).",
        )
    return kept


def _size(tree: Tree, path: str) -> tuple[int, int]:
    """Width and height of an image that can be decoded."""
    with Image.open(io.BytesIO(tree.store.read_bytes(path))) as image:
        return image.size


def _note_unlisted(
    tree: Tree, found: Found, sides: Sequence[Sequence[Annotated]], faults: Faults
) -> None:
    """Count the images of the two sides' own folders that no annotation lists."""
    listed = {image.path for side in sides for image in side}
    own = tuple(
        f"{found.prefix}{place}"
        for side in found.sides
        for place in (f"{side}/", f"images/{side}/")
    )
    for path in tree.stamps:
        if path.startswith(own) and is_image_name(path) and path not in listed:
            faults.add(UNLISTED, path)


def _renumbered(boxes: Boxes, place: dict[int, int]) -> Boxes:
    import numpy as np

    labels = np.array([place[int(label)] for label in boxes.labels], np.int64)
    return Boxes(boxes.width, boxes.height, boxes.corners, labels, boxes.crowd)
