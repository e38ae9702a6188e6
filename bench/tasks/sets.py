"""The paper's data sets of image files, opened; fetched where they are missing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sparsebench.bench.tasks.base import Task, TaskOptions
from sparsebench.bench.tasks.download import reach
from sparsebench.bench.tasks.known import SETS, Form, find_set
from sparsebench.bench.tasks.known_tasks import FACTS, TaskFacts
from sparsebench.bench.tasks.listed import open_listed
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.folder import open_folder

log = logging.getLogger("sparsebench")


def open_set(name: str, options: TaskOptions) -> Task:
    """Open one of the paper's data sets of image files, fetching it where it is missing.

    Args:
        name: one of `SETS`.
        options: see :class:`TaskOptions`.

    Raises:
        SparsebenchError: it is not there and cannot or may not be fetched; its folder has
            another layout (what was expected is said) or another number of classes; what
            the readers raise.
    """
    root = options.data_dir or options.cache_folder("downloads")
    try:
        place, form = _found(name, root, options)
        facts = FACTS[name]
        if form.read is None:
            sides = tuple(need.rstrip("/") for need in form.needs)
            images = open_folder(place, options, only=sides)
            task = Task.of(images, name=name, metric=facts.metric)
        else:
            task = open_listed(name, place, form.read(place), facts.metric, options)
    except OSError as error:
        raise SparsebenchError(
            f"'{name}' cannot be looked for: {error.filename or root} cannot be read "
            f"({error.strerror or error}).",
            "Check its permissions.",
        ) from error
    return _compared(task, facts, place)


def _found(name: str, root: Path, options: TaskOptions) -> tuple[Path, Form]:
    found = find_set(name, root)
    if found is None:
        _no_other_layout(name, root)
        _obtain(name, root, options)
        found = find_set(name, root)
    if found is None:
        raise SparsebenchError(
            f"What was fetched for '{name}' into {root} has an unknown layout.", _expected(name)
        )
    return found


def _expected(name: str) -> str:
    known = SETS[name]
    forms = "; or ".join(str(form) for form in known.forms)
    return f"Expected in a folder {' or '.join(known.folders)}: {forms}."


def _no_other_layout(name: str, root: Path) -> None:
    """A folder of the right name that holds something else is not covered by a download."""
    for folder in SETS[name].folders:
        place = root / folder
        if place.is_dir() and (there := sorted(path.name for path in place.iterdir())):
            # A folder of the same name may stand around the real one ("dtd/dtd").
            shown = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if there[5:] else "")
            raise SparsebenchError(
                f"'{place}' cannot be read as '{name}'; it holds {shown}.", _expected(name)
            )


def _obtain(name: str, root: Path, options: TaskOptions) -> None:
    remotes = SETS[name].remotes
    absent = f"The data set '{name}' is not in {root}"
    if not remotes:
        raise SparsebenchError(
            f"{absent}, and there is no archive of it to fetch.",
            f"Give its folder with --data-dir. {_expected(name)}",
        )
    if not options.download:
        raise SparsebenchError(
            f"{absent}.", f"Allow the download, or copy it there. {_expected(name)}"
        )
    if (reason := reach(remotes[0].url)) is not None:
        raise SparsebenchError(
            f"{absent} and cannot be downloaded from here ({reason}).",
            f"Copy it there, or take the task 'digits'. {_expected(name)}",
        )
    from sparsebench.bench.tasks.unpacking import fetch_and_unpack

    fetch_and_unpack(name, remotes, root, options.say or log.info)


def _compared(task: Task, facts: TaskFacts, place: Path) -> Task:
    """Hold a task to what is known of it.

    Raises:
        SparsebenchError: another number of classes: whatever it is, it is not this task.
    """
    if len(task.classes) != facts.classes:
        raise SparsebenchError(
            f"'{place}' has {len(task.classes)} classes, '{task.name}' has {facts.classes}.",
            "To use the folder as it is, name it: --task FOLDER, with train/CLASS/ and "
            "test/CLASS/ in it.",
        )
    notes = []
    for side, known in (("train", facts.train), ("test", facts.test)):
        if (found := len(task.split(side))) != known:
            report = "is reported to have" if side in facts.unverified else "has"
            notes.append(
                f"{found:,} {side} images; the paper's split {report} {known:,}: accuracies "
                "may not compare with the paper's"
            )
    return replace(task, notes=(*task.notes, *notes))


def _opener(name: str, about: str) -> Callable[[TaskOptions], Task]:
    def opened(options: TaskOptions) -> Task:
        return open_set(name, options)

    opened.__doc__ = about
    return opened


open_aircraft = _opener("aircraft", "FGVC Aircraft: 100 variants of aeroplanes.")
open_birdsnap = _opener("birdsnap", "Birdsnap: 500 species of North American birds.")
open_caltech101 = _opener(
    "caltech101", "Caltech-101: 101 kinds of things; the first 30 images of each train."
)
open_caltech256 = _opener(
    "caltech256", "Caltech-256: 257 kinds of things; the first 60 images of each train."
)
open_cars = _opener("cars", "Stanford Cars: 196 models of cars.")
open_dtd = _opener(
    "dtd", "Describable Textures, split 1: 47 words for textures; its train and val sides train."
)
open_flowers102 = _opener("flowers102", "Oxford 102 Flowers: its train and val sides train.")
open_food101 = _opener("food101", "Food-101: 101 dishes; the training labels are noisy.")
open_pets = _opener("pets", "Oxford-IIIT Pets: 37 breeds of cats and dogs.")
open_sun397 = _opener("sun397", "SUN397, partition 1: 397 kinds of scenes.")
