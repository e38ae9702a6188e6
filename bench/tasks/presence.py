"""Where a registered task comes from, and whether it is on this machine; nothing is opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from sparsebench.bench.tasks.known import SETS, find_set
from sparsebench.bench.tasks.known_tasks import FACTS

ON_DISK = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "fashion-mnist": "FashionMNIST/raw",
}
"""Where torchvision keeps its arrays below the data folder."""
SCANS = "scikit-learn"
"""Where the scans of digits come from, which are no photographs."""
# Of the archives, in megabytes, about: known figures, not asked of the servers.
_MEGABYTES = {
    "aircraft": 2_750, "caltech101": 137, "caltech256": 1_183, "cifar10": 170, "cifar100": 169,
    "dtd": 625, "fashion-mnist": 31, "flowers102": 345, "food101": 4_996, "pets": 811,
    "sun397": 39_000,
}  # fmt: skip


def download_size(name: str) -> str:
    """About how much a registered task downloads: ``811 MB``, ``5.0 GB``."""
    megabytes = _MEGABYTES.get(name)
    if megabytes is None:
        return "size not known"
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def origin(name: str) -> str:
    """Where the images of a registered task come from.

    ``download``: from where torchvision fetches them; ``your copy``: there is no such place.
    """
    if name in ON_DISK:
        return "download"
    if name in SETS:
        return "download" if SETS[name].remotes else "your copy"
    return SCANS if name == "digits" else "another package"


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
