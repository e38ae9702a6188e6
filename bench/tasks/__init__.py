"""Tasks: named data sets, data sets of the hub, any folder or tar of images or of boxes.

A builder takes :class:`~sparsebench.bench.tasks.base.TaskOptions` and returns a
:class:`~sparsebench.bench.tasks.base.Task`; the first line of its docstring is its description. The
registry below is the one line that adds another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.registry import Registry

if TYPE_CHECKING:
    from sparsebench.bench.tasks.base import Task, TaskOptions

log = logging.getLogger("sparsebench")

HUB = "hf:"
"""What the name of a data set on the Hugging Face hub begins with here."""


class TaskRegistry(Registry):
    """The named tasks; a name with the hub's prefix always stands for something."""

    def target(self, name: str) -> str:
        """As :meth:`Registry.target`; ``hf:…`` is the hub's builder."""
        return (
            "sparsebench.bench.tasks.hub:open_hub" if name.startswith(HUB) else super().target(name)
        )


TASKS = TaskRegistry(
    "task",
    "sparsebench.tasks",
    {
        "digits": "sparsebench.bench.tasks.digits:open_digits",
        "aircraft": "sparsebench.bench.tasks.sets:open_aircraft",
        "birdsnap": "sparsebench.bench.tasks.sets:open_birdsnap",
        "caltech101": "sparsebench.bench.tasks.sets:open_caltech101",
        "caltech256": "sparsebench.bench.tasks.sets:open_caltech256",
        "cars": "sparsebench.bench.tasks.sets:open_cars",
        "cifar10": "sparsebench.bench.tasks.torchvision_sets:open_cifar10",
        "cifar100": "sparsebench.bench.tasks.torchvision_sets:open_cifar100",
        "dtd": "sparsebench.bench.tasks.sets:open_dtd",
        "flowers102": "sparsebench.bench.tasks.sets:open_flowers102",
        "food101": "sparsebench.bench.tasks.sets:open_food101",
        "pets": "sparsebench.bench.tasks.sets:open_pets",
        "sun397": "sparsebench.bench.tasks.sets:open_sun397",
        "fashion-mnist": "sparsebench.bench.tasks.torchvision_sets:open_fashion_mnist",
    },
)


def open_task(
    name: str,
    data_dir: str | Path | None = None,
    *,
    metric: str | None = None,
    limit: int | None = None,
    strict: bool = False,
    allow_image_loss: bool = False,
    workers: int | None = None,
    cache: str | Path | None = None,
    download: bool = True,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Task:
    """Open a task by its name, or a directory or tar of images by its path.

    ``hf:…`` is a data set of the Hugging Face hub (``bench.tasks.hub``). A registered name
    wins over a folder of that name (``./digits`` means the folder). A path is looked up as it
    is, then below `data_dir`.

    Args:
        name: registered name or path.
        data_dir: where downloadable data sets lie or go, and paths are looked up.
        metric: ``top1`` or ``mean_per_class`` instead of the task's own.
        limit: at most so many images (``sparsebench.bench.tasks.subset``).
        strict: fail when an image cannot be read, instead of leaving it out.
        allow_image_loss: go on even where a class loses most of its images.
        workers: threads that check images; None for the cores this process may use.
        cache: folder for what is remembered; None for the suite's own.
        download: whether a missing data set may be fetched.
        progress: told (images checked, images to check).
        say: told in words what takes time, such as a download; None for the log.

    Raises:
        UnknownNameError: neither a task's name nor a path; the nearest names are offered.
        SparsebenchError: the images are not as a task needs them (``models.images``), or
            cannot be fetched.
    """
    from sparsebench.bench.tasks.base import TaskOptions, known_metric
    from sparsebench.bench.tasks.subset import limited

    options = TaskOptions(
        data_dir=Path(data_dir).expanduser() if data_dir else None,
        cache=Path(cache).expanduser() if cache else None,
        workers=workers,
        strict=strict,
        allow_image_loss=allow_image_loss,
        download=download,
        progress=progress,
        say=say,
    )
    if metric is not None:
        known_metric(metric)
    if name.startswith(HUB):
        from sparsebench.bench.tasks.hub import open_hub

        task = open_hub(name.removeprefix(HUB), options)
    else:
        path = task_path(name, data_dir)
        task = _open_path(path, options) if path else TASKS.load(name)(options)
    if metric is not None:
        task = task.with_metric(metric)
    if limit is not None:
        task = limited(task, limit)
    task = task.with_notes()
    for note in (*task.notes, *task.losses.lines()):
        log.warning("task %s: %s", task.name, note)
    return task


def task_path(name: str, data_dir: str | Path | None = None) -> Path | None:
    """The folder or archive that a task's name stands for; None for a registered name.

    Raises:
        UnknownNameError: neither a task's name nor a path; the nearest names are offered.
        SparsebenchError: what is plainly meant as a path is not there.
    """
    if name.startswith(HUB) or name in TASKS:
        return None
    paths = [Path(name).expanduser()]
    if data_dir:
        paths.append(Path(data_dir).expanduser() / name)
    for path in paths:
        if path.exists():
            return path
    if "/" in name or ".tar" in name:
        raise SparsebenchError(
            f"There is no folder or archive '{name}'.",
            "Give a task's name, or a folder or tar with train/CLASS/ and test/CLASS/ in it.",
        )
    raise UnknownNameError("task", name, TASKS)


def _open_path(path: Path, options: TaskOptions) -> Task:
    from sparsebench.bench.tasks.base import Task
    from sparsebench.bench.tasks.detection.layout import ROBOFLOW, TOPS, find_format
    from sparsebench.models.images import open_images
    from sparsebench.models.images.tree import Tree, folder_tree, names_at_top

    if path.is_dir():
        found = find_format(names_at_top(path, ROBOFLOW), str(path))
        if found is None:
            return Task.of(open_images(path, options))
        tree = folder_tree(path, found.prefix, TOPS)
    else:
        from sparsebench.models.images.archive import labelled_archive, read_archive

        archive = read_archive(path, options)
        folders = (f"{name}/" for name in archive.index.folders)
        found = find_format({*archive.stamps, *folders}, str(path))
        if found is None:
            return Task.of(labelled_archive(archive, options))
        refused = tuple(archive.index.refused)
        tree = Tree(archive.name, path, archive.store, archive.stamps, refused)
    from sparsebench.bench.tasks.detection.open import open_detection

    return open_detection(tree, found, options)
