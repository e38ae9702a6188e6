"""What lies in the suite's cache, how large it is, and how it is kept below its limit."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import SparsebenchError, UnknownNameError

LIMIT = "SPARSEBENCH_CACHE_LIMIT"
"""Gigabytes that what is made again by itself may take; a run removes what is above it."""
DEFAULT_LIMIT = 5.0
DAY = 86_400.0
"""Seconds; what was used within it is never removed to keep the limit: a run may be at work."""


@dataclass(frozen=True)
class Kind:
    """A folder of the cache.

    Attributes:
        name: of the folder.
        what: in a few words.
        remade: whether the next run makes it again by itself, without a download.
    """

    name: str
    what: str
    remade: bool = True


KINDS = (
    Kind("artifacts", "exported networks"),
    Kind("modules", "exported networks of Python modules"),
    Kind("features", "extracted features"),
    Kind("pictures", "decoded images of runs"),
    Kind("tasks/decoded", "decoded images of prunings"),
    Kind("tasks/archives", "indexes of archives of images"),
    Kind("tasks/checked", "which images can be read"),
    Kind("kernels", "compiled kernels"),
    Kind("bytecode", "compiled Python of workers"),
    Kind("tasks/downloads", "downloaded data sets", remade=False),
    Kind("tasks/hub", "data sets of the Hugging Face hub", remade=False),
    Kind("environments", "environments of engines", remade=False),
    Kind("forecast", "what earlier runs took", remade=False),
    Kind("noise", "noise of this machine", remade=False),
)


@dataclass(frozen=True)
class Held:
    """A folder of the cache as it is now: bytes on disk and entries."""

    kind: Kind
    bytes: int
    entries: int


def held() -> list[Held]:
    """Every folder of the cache, the largest first."""
    found = []
    for kind in KINDS:
        entries = list(_entries(kind))
        found.append(Held(kind, sum(map(_bytes, entries)), len(entries)))
    return sorted(found, key=lambda one: -one.bytes)


def clear(names: Iterable[str] = (), *, unused_for: float = 0.0) -> int:
    """Remove folders of the cache; the number of bytes that are free then.

    Args:
        names: of :data:`KINDS`; without one, all that is made again by itself.
        unused_for: seconds; what was used since stays.

    Raises:
        UnknownNameError: no folder has this name.
    """
    known = {kind.name: kind for kind in KINDS}
    for name in names:
        if name not in known:
            raise UnknownNameError("part of the cache", name, known)
    chosen = [known[name] for name in names] or [kind for kind in KINDS if kind.remade]
    old = time.time() - unused_for
    return sum(_remove(entry) for kind in chosen for entry in _entries(kind) if _used(entry) <= old)


def limit_bytes() -> float:
    """The limit of what is made again by itself.

    Raises:
        SparsebenchError: the variable does not hold a number of gigabytes.
    """
    text = os.environ.get(LIMIT, str(DEFAULT_LIMIT))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise SparsebenchError(f"{LIMIT} is '{text}'.", "Give gigabytes, such as 5.")
    return value * 1e9


def trim() -> int:
    """Remove what was not used for longest until the limit holds; bytes that were removed."""
    entries = [entry for kind in KINDS if kind.remade for entry in _entries(kind)]
    above, removed = sum(map(_bytes, entries)) - limit_bytes(), 0
    if above <= 0:
        return 0  # as nearly always; when it was used need not be looked up
    used = {entry: _used(entry) for entry in entries}
    for entry in sorted(entries, key=used.__getitem__):
        if removed >= above or used[entry] > time.time() - DAY:
            break
        removed += _remove(entry)
    return removed


def _entries(kind: Kind) -> Iterator[Path]:
    folder = cache_dir() / kind.name
    return folder.iterdir() if folder.is_dir() else iter(())


def _files(entry: Path) -> Iterator[os.stat_result]:
    """The entry itself and all below it; what another process removes meanwhile is left out."""
    try:
        own = entry.lstat()
    except OSError:
        return
    yield own
    folders = [os.fspath(entry)] if S_ISDIR(own.st_mode) else []
    while folders:
        try:
            inside = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for one in inside:
            try:
                facts = one.stat(follow_symlinks=False)
            except OSError:
                continue
            yield facts
            if S_ISDIR(facts.st_mode):
                folders.append(one.path)


def _bytes(entry: Path) -> int:
    return sum(one.st_blocks * 512 for one in _files(entry))


def _used(entry: Path) -> float:
    """When it was written or read last; of folders the former alone: they are read here."""
    return max(
        (one.st_mtime if S_ISDIR(one.st_mode) else max(one.st_atime, one.st_mtime)
         for one in _files(entry)),
        default=0.0,
    )  # fmt: skip


def _remove(entry: Path) -> int:
    size = _bytes(entry)
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
    return size - _bytes(entry) if entry.exists() else size
