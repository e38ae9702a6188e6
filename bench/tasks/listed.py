"""Images named by lists: from the rows of annotation files to a checked split.

Whatever a data set's own format is, its reader ends here: rows of (path, class name) for
each side. A list that contradicts itself or its folder is an error, never a smaller task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from sparsebench.bench.tasks.base import Metric, Task, TaskOptions
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.folder import FolderImages
from sparsebench.models.images.layout import Layout
from sparsebench.models.images.scan import Stamp, readable_images
from sparsebench.models.images.text import shortened

Row = tuple[str, str]
"""Path below the data set's folder, and class name."""
FIX = "Unpack the data set again; part of it is missing or altered."


def listed_layout(
    train: Iterable[Row], test: Iterable[Row], where: Path, classes: Sequence[str] | None = None
) -> Layout:
    """A split from lists, sorted by class, then by path, as ImageFolder would have it.

    Args:
        train: rows of the train side.
        test: rows of the test side.
        where: the data set's folder, for messages.
        classes: the names that may occur, where the data set says so.

    Raises:
        SparsebenchError: a class that is not among `classes` or only on one side, an image
            that is listed twice or lies outside the folder.
    """
    sides = {"train": list(train), "test": list(test)}
    found = {side: {name for _, name in rows} for side, rows in sides.items()}
    names = tuple(sorted(found["train"] | found["test"]))
    if classes is not None and (unknown := sorted(set(names) - set(classes))):
        raise SparsebenchError(
            f"The lists of '{where}' name classes that it does not have: {shortened(unknown)}.",
            FIX,
        )
    one_sided = [
        f"only in {side}: {shortened(sorted(found[side] - found[other]))}"
        for side, other in (("train", "test"), ("test", "train"))
        if found[side] - found[other]
    ]
    if one_sided:
        raise SparsebenchError(f"The classes of '{where}' differ: {'; '.join(one_sided)}.", FIX)
    counts = Counter(path for rows in sides.values() for path, _ in rows)
    if outside := [path for path in counts if ".." in path.split("/") or path.startswith("/")]:
        raise SparsebenchError(
            f"The lists of '{where}' lead out of its folder: {shortened(outside)}.", FIX
        )
    if twice := [path for path, count in counts.items() if count > 1]:
        raise SparsebenchError(f"The lists of '{where}' name twice: {shortened(twice)}.", FIX)
    labels = {name: label for label, name in enumerate(names)}

    def rows(side: str) -> tuple[tuple[str, str, int], ...]:
        # The second name is what an ImageFolder of the same images would call them, so
        # that either form gives the same digest.
        return tuple(
            sorted(
                (
                    (path, f"{name.replace('/', '_')}/{PurePosixPath(path).name}", labels[name])
                    for path, name in sides[side]
                ),
                key=lambda row: (row[2], row[1], row[0]),
            )
        )

    return Layout(names, rows("train"), rows("test"), ignored=0)


def open_listed(
    name: str, root: Path, layout: Layout, metric: Metric, options: TaskOptions
) -> Task:
    """The task of a split whose images lie below a folder.

    Args:
        name: of the task.
        root: folder that the layout's paths start from.
        layout: the split.
        metric: of the task.
        options: see :class:`TaskOptions`.

    Raises:
        SparsebenchError: listed images that are not there, and what
            :func:`sparsebench.models.images.scan.readable_images` and :class:`Task` raise.
    """
    stamps: dict[str, Stamp] = {}
    missing = []
    for path, _, _ in (*layout.train, *layout.test):
        try:
            stat = (root / path).stat()
        except OSError:
            missing.append(path)
            continue
        stamps[path] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    if missing:
        raise SparsebenchError(
            f"{len(missing)} of the {len(missing) + len(stamps)} images that '{root}' lists "
            f"are not there: {shortened(missing, 3)}.",
            FIX,
        )
    images = readable_images(name, layout, FolderImages(root), stamps, root, options)
    return Task.of(images, metric=metric)
