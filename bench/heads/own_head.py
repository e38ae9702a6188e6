"""Accuracy of a network as it is, under its own classifier: no head is trained.

Every output competes, also where the images show only some of its classes. Published figures are
of this kind; :mod:`sparsebench.bench.heads` trains new heads on a network's features instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.images.decode import decoded_batches
from sparsebench.bench.statistics.intervals import Interval
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.kinds import CLASSIFICATION
from sparsebench.models.architectures.without_compiler import timm_info
from sparsebench.models.cards import at_size
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.folder import FolderImages
from sparsebench.models.images.labelled import Split
from sparsebench.models.onnx_file.backbone import OnnxBackbone
from sparsebench.models.sparsify.start import IMAGENET_CLASSES, imagenet_rows
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import Backbone, load_to_run

IMAGENET_VAL = "imagenet-val"
_SYNSET = re.compile(r"n\d{8}")
_NAME_IT = (
    "Name the folder of your copy of ImageNet's validation set, --data-dir DIR, or other images, "
    "--task FOLDER."
)
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.")
_BEST = 5
Z = 1.959963984540054  # of the normal distribution, 95 %


@dataclass(frozen=True)
class OwnAccuracy:
    """What one network's own classifier gets right.

    Attributes:
        name: of the backbone.
        top1: ``[images]`` bool.
        top5: the same; None where it has no more than five outputs.
        real: the same by ImageNet's reassessed labels, of the images that have any; or None.
        published: top-1 that its card states, 0 to 1, and what it was measured on.
    """

    name: str
    top1: NDArray[np.bool_]
    top5: NDArray[np.bool_] | None
    real: NDArray[np.bool_] | None
    published: tuple[float | None, str | None]

    @property
    def scores(self) -> dict[str, NDArray[np.bool_]]:
        """Measure -> right or wrong, in the order of the images."""
        named = {"top-1": self.top1, "top-5": self.top5, "ReaL": self.real}
        return {name: right for name, right in named.items() if right is not None}

    def intervals(self) -> dict[str, Interval]:
        """Share of images that are right, 0 to 1, with its 95 % interval (Wilson's)."""
        return {n: wilson_interval(int(r.sum()), len(r)) for n, r in self.scores.items()}


def differences(sparse: OwnAccuracy, dense: OwnAccuracy) -> dict[str, Interval]:
    """Sparse less dense on the same images, 0 to 1: the interval is that of paired images."""
    return {
        name: paired_interval(right, dense.scores[name])
        for name, right in sparse.scores.items()
        if name in dense.scores
    }


def wilson_interval(right: int, count: int) -> Interval:
    """A share of images and Wilson's 95 % interval (1927)."""
    share, weight = right / count, Z**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) / count + weight / (4 * count)) * Z / (1 + weight)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), count)


def paired_interval(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Interval:
    """The difference of two shares on the same images, with Agresti and Min's interval (2005).

    Half an image is added to each kind of disagreement, so that agreement on all images of a small
    set is no certainty.
    """
    gains, losses = int((one & ~other).sum()), int((other & ~one).sum())
    count, more = len(one), len(one) + 2
    apart = gains - losses
    half = Z * math.sqrt(gains + losses + 1 - apart**2 / more) / more
    return Interval(apart / count, apart / more - half, apart / more + half, count)


def open_imagenet_val(folder: Path, limit: int | None = None) -> Task:
    """ImageNet-1k's validation images in the order of their names, as the user has them.

    Args:
        folder: with a folder of JPEG files for each class (``n01440764`` ...), or ``val`` in it.
        limit: at most so many images, evenly spread.

    Raises:
        SparsebenchError: there are no such folders.
    """
    root = folder / "val" if (folder / "val").is_dir() else folder
    try:
        classes = sorted(p.name for p in root.iterdir() if _SYNSET.fullmatch(p.name))
        found = sorted(
            (file.name, f"{name}/{file.name}", label)
            for label, name in enumerate(classes)
            for file in (root / name).iterdir()
            if file.suffix.lower() in (".jpeg", ".jpg", ".png")
        )
    except OSError as error:
        raise SparsebenchError(
            f"The folder {error.filename} cannot be read ({error.strerror}).", _NAME_IT
        ) from error
    if len(classes) < 2 or not found:
        raise SparsebenchError(
            f"'{root}' holds no folders of ImageNet's classes (n01440764, ...).",
            _NAME_IT,
        )
    if limit and limit < len(found):
        found = [found[i * len(found) // limit] for i in range(limit)]
    items, labels = [item for _, item, _ in found], [label for _, _, label in found]
    kept = sorted(set(labels))
    split = Split(items, np.array([kept.index(label) for label in labels], np.int64))
    names = tuple(classes[label] for label in kept)
    return Task(IMAGENET_VAL, names, split, split, "", FolderImages(root))


def evaluate_own_head(
    name: str,
    task: Task,
    *,
    own_head: bool = False,
    size: int | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> OwnAccuracy:
    """Run a backbone with its own classifier on a task's test images.

    Args:
        name: of the backbone.
        task: whose classes must be among those that the network tells apart.
        own_head: take its outputs for the task's classes in their order, where nothing tells.
        size: side of the images, pixels; the backbone's own by default.
        batch_size: images at a time.
        progress: told (images done, images to do).

    Raises:
        SparsebenchError: the backbone cannot be had, it knows other classes, or the task asks for
            boxes.
    """
    if task.kind is not CLASSIFICATION:
        raise SparsebenchError(
            f"'{task.name}' is a {task.kind.name} task: a classifier has no answer to it.",
            "Take images with a class each.",
        )
    backbone = load_to_run(name)
    preprocessing = at_size(backbone.card.preprocessing, size or backbone.card.preprocessing.size)
    logits: list[NDArray[np.float32]] = []
    done = 0
    for _, images in decoded_batches(task, "test", preprocessing, batch_size):
        logits.append(_logits(backbone, images))
        if done == 0:
            _rows(backbone, task, logits[0].shape[1], own_head)  # refused before the long part
        done += len(images)
        if progress is not None:
            progress(done, len(task.test))
    outputs = np.concatenate(logits)
    rows = np.array(_rows(backbone, task, outputs.shape[1], own_head))
    wanted = rows[task.test.labels]
    best = np.argsort(-outputs, axis=1, kind="stable")[:, :_BEST]
    top5 = (best == wanted[:, None]).any(1) if outputs.shape[1] > _BEST else None
    card = backbone.card
    return OwnAccuracy(
        card.name,
        best[:, 0] == wanted,
        top5,
        _real(task, best[:, 0]) if outputs.shape[1] == IMAGENET_CLASSES else None,
        (card.upstream_accuracy, card.upstream_data),
    )


def knows_classes(name: str, task: Task) -> bool:
    """Whether a backbone's file, or the names of the task's classes, tell its outputs for them.

    Raises:
        SparsebenchError: the backbone cannot be had.
    """
    card = find_card(name)
    if not card.trained or task.kind is not CLASSIFICATION:
        return False
    if card.num_classes == IMAGENET_CLASSES and imagenet_rows(task.classes) is not None:
        return True
    known = _classes_of(Path(card.source))
    return bool(known) and set(task.classes) <= set(known)


def _logits(backbone: Backbone | OnnxBackbone, images: NDArray[np.float32]) -> Any:
    if isinstance(backbone, OnnxBackbone):
        return backbone.rows(images, "logits")
    with torch.inference_mode():
        return backbone.module(torch.from_numpy(images)).float().numpy()


def _rows(
    backbone: Backbone | OnnxBackbone, task: Task, outputs: int, own_head: bool
) -> Sequence[int]:
    """The output that stands for each class.

    Raises:
        SparsebenchError: nothing tells.
    """
    if outputs == IMAGENET_CLASSES and (rows := imagenet_rows(task.classes)) is not None:
        return rows
    known = _classes_of(Path(backbone.card.source))
    if len(known) == outputs and set(task.classes) <= set(known):
        return [known.index(name) for name in task.classes]
    if own_head and outputs == len(task.classes):
        return range(outputs)
    hint = (
        "Add --own-head if its outputs are these classes in this order."
        if outputs == len(task.classes)
        else "Take the images that it was trained for."
    )
    raise SparsebenchError(
        f"'{backbone.card.name}' tells {outputs} classes apart, and nothing says that "
        f"the {len(task.classes)} of '{task.name}' are among them.",
        hint,
    )


def _classes_of(path: Path) -> list[str]:
    """The classes that a file of ``sparsebench sparsify`` names."""
    from sparsebench.models.sources.own_file import said_by

    try:
        found = json.loads(said_by(path).get("classes", "[]"))
    except (ValueError, RecursionError):
        return []
    return [str(name) for name in found] if isinstance(found, list) else []


def _real(task: Task, first: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Whether the first choice is one of an image's reassessed labels (Beyer et al., 2020)."""
    numbers = [_NUMBER.search(str(item)) for item in task.test.items]
    if task.name != IMAGENET_VAL or None in numbers:
        return None
    labels = [_real_labels()[int(found[1]) - 1] for found in numbers if found]
    pairs = zip(first.tolist(), labels, strict=True)
    return np.array([choice in right for choice, right in pairs if right], bool)


@cache
def _real_labels() -> list[list[int]]:
    """The 50,000 lists that timm ships; 3,163 of them are empty."""
    found: list[list[int]] = json.loads(timm_info("imagenet_real_labels.json"))
    return found
