"""Names of a plan's tasks that tell them apart: two folders may be called alike.

A folder's task is called by its last name. Where a plan has two of one name, such as ``x/pics``
and ``y/pics``, each gets as many parents as it takes, since tables and comparisons go by names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparsebench.bench.tasks import task_path
from sparsebench.bench.tasks.base import Task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.text import printable


def distinct_names(tasks: Sequence[str], data_dir: str | Path | None = None) -> dict[str, str]:
    """Entry of a plan -> what its task is called there, without a limit's suffix.

    Args:
        tasks: as the plan gives them: registered names, hub names, paths.
        data_dir: where paths are looked up too.

    Raises:
        SparsebenchError: two entries are one folder or archive, or one does not exist.
    """
    places = {name: _place(name, data_dir) for name in dict.fromkeys(tasks)}
    _refuse_twice(places)
    names = {name: name if place is None else _own(place) for name, place in places.items()}
    for own in set(names.values()):
        same = [name for name in names if names[name] == own]
        if len(same) > 1:
            paths = {name: place for name in same if (place := places[name]) is not None}
            taken = {names[name] for name in names if name not in paths}
            names |= _with_parents(paths, taken)
    return names


def renamed(task: Task, name: str, limit: int) -> Task:
    """The task under this name; what a limit (images; 0 for none) appended to its own stays."""
    suffix = f":{limit}"
    return replace(task, name=name + suffix if limit and task.name.endswith(suffix) else name)


def _place(name: str, data_dir: str | Path | None) -> Path | None:
    """Where a folder or archive is; None for what has a name of its own."""
    path = task_path(name, data_dir)
    if path is None:
        return None
    # A folder is called by what a link leads to, an archive by its link.
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _own(place: Path) -> str:
    """What the task is called by itself (``models.images.folder``, ``models.images.archive``)."""
    name = printable(place.name)
    return name if place.is_dir() else name.partition(".tar")[0].removesuffix(".tgz")


def _refuse_twice(places: dict[str, Path | None]) -> None:
    seen: dict[Path, str] = {}
    for name, place in places.items():
        if place is not None and place in seen:
            raise SparsebenchError(
                f"The tasks '{seen[place]}' and '{name}' are one: {place}.", "Name it once."
            )
        if place is not None:
            seen[place] = name


def _with_parents(places: dict[str, Path], taken: set[str]) -> dict[str, str]:
    parts = {name: place.parts for name, place in places.items()}
    found: dict[str, str] = {}
    for depth in range(1, max(map(len, parts.values())) + 1):
        found = {name: printable("/".join(part[-depth:])) for name, part in parts.items()}
        values = set(found.values())
        if len(values) == len(found) and not values & taken:
            break
    return found
