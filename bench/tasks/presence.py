"""Where a registered task comes from, and whether it is on this machine; nothing is opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from sparsebench.bench.tasks.facts import FACTS
from sparsebench.bench.tasks.known import SETS, find_set
from sparsebench.bench.tasks.torchvision_sets import ON_DISK


def origin(name: str) -> str:
    """Where the images of a registered task come from.

    ``download``: from where torchvision fetches them; ``your copy``: there is no such place.
    """
    if name in ON_DISK:
        return "download"
    if name in SETS:
        return "download" if SETS[name].remotes else "your copy"
    return "scikit-learn" if name == "digits" else "another package"


def is_here(name: str, root: Path) -> bool | None:
    """Whether a registered task is on this machine; None when only opening it would tell.

    Args:
        name: of the task.
        root: the data folder.
    """
    if name in ON_DISK:
        return (root / ON_DISK[name]).is_dir()
    if name in SETS:
        found = find_set(name, root)
        if found is None:
            return False
        place, form = found
        if form.read is None and place == root:
            # Any ImageFolder may be the data folder: its classes must be as many.
            side = root / form.needs[0]
            folders = sum(path.is_dir() for path in side.iterdir())
            return folders == FACTS[name].classes
        return True
    return True if name == "digits" else None


def has_hub_library() -> bool:
    """Whether data sets of the Hugging Face hub can be opened."""
    return find_spec("datasets") is not None
