"""Compiled libraries in the cache: whole or not used, and compiled by one process at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path


def is_whole(library: Path) -> bool:
    """Whether a library is there and holds what was once compiled.

    A library that was cut off (a full disk, a copied cache) must not even be opened: the loader
    maps it, and what it reads behind the end of the file kills the process.
    """
    try:
        return _sum_file(library).read_bytes() == _sum(library)
    except OSError:
        return False


def keep(linked: Path, library: Path) -> None:
    """Move a library that was just linked into its place, whole or not at all.

    Args:
        linked: in a folder on the same file system.
        library: its place; replaced if there is something.
    """
    beside = _sum_file(linked)
    beside.write_bytes(_sum(linked))
    # The sum first: whoever finds the library then finds its sum, too.
    beside.replace(_sum_file(library))
    linked.replace(library)


def newest_whole(folder: Path, stem: str) -> Path | None:
    """The library whose name begins so that was compiled last; None if there is none."""
    found = sorted(folder.glob(f"{stem}-*.so"), key=_age)
    return next((library for library in found if is_whole(library)), None)


def _age(library: Path) -> float:
    try:
        return -library.stat().st_mtime
    except OSError:  # deleted meanwhile
        return 0.0


def _sum_file(library: Path) -> Path:
    return library.with_suffix(".sha256")


def _sum(library: Path) -> bytes:
    return hashlib.sha256(library.read_bytes()).hexdigest().encode()
