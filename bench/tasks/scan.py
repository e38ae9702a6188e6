"""Which pictures can be decoded, found out before a split is fixed, and paid for once.

Every picture is decoded when a task is opened for the first time. What was found (its
digest, or why it cannot be read) is remembered in the cache folder under a stamp of the
file (size, modification and change time), so that opening the task again reads nothing
but the folder. A file whose stamp differs is checked again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import PIL

from sparsebench.bench.tasks.base import DigestRow, TaskOptions, printable, shortened
from sparsebench.bench.tasks.layout import Layout
from sparsebench.bench.tasks.pictures import check_picture
from sparsebench.models.errors import SparsebenchError

log = logging.getLogger("sparsebench")

Stamp = list[int]
"""Numbers that change when a file does: size, mtime, ctime (nanoseconds), and more."""

# Pillow decides what can be decoded; bump the number when our own rules change.
_DECODER = f"1 pillow {PIL.__version__}"
_CHUNK = 16
# A file changed within the resolution of the clock could change again under the same
# stamp, so what was seen of it is not remembered.
_SETTLED_NANOSECONDS = 100_000_000


class ByteStore(Protocol):
    """Reads the bytes of a picture by its name."""

    def read_bytes(self, name: str) -> bytes:
        """The whole file; raises OSError."""
        ...


@dataclass(frozen=True)
class Checked:
    """What is known of one picture file.

    Attributes:
        sha256: of its bytes; empty when it could not be read.
        reason: why it cannot be decoded, None when it can.
    """

    sha256: str
    reason: str | None


@dataclass(frozen=True)
class GoodPictures:
    """A layout without its undecodable pictures: rows are (path, path in split, label).

    Attributes:
        train: rows of the train side.
        test: rows of the test side.
        train_rows: the same, as :func:`sparsebench.bench.tasks.base.task_digest` wants them.
        test_rows: likewise.
        skipped: ``"path: reason"`` of what was left out.
    """

    train: tuple[tuple[str, str, int], ...]
    test: tuple[tuple[str, str, int], ...]
    train_rows: tuple[DigestRow, ...]
    test_rows: tuple[DigestRow, ...]
    skipped: tuple[str, ...]


def good_pictures(
    layout: Layout,
    store: ByteStore,
    stamps: Mapping[str, Stamp],
    where: Path,
    options: TaskOptions,
) -> GoodPictures:
    """Check the pictures of a layout and leave out those that cannot be decoded.

    Args:
        layout: from :func:`sparsebench.bench.tasks.layout.find_layout`.
        store: reads a picture's bytes.
        stamps: by path; see `Stamp`.
        where: the folder or archive, under whose path the result is remembered.
        options: cache folder, threads, strictness, progress.

    Raises:
        SparsebenchError: with ``strict``, a picture that cannot be decoded.
    """
    rows = [*layout.train, *layout.test]
    names = [path for path, _, _ in rows]
    memory = _memory_path(where, options)
    known = _recall(memory)
    checked: dict[str, Checked] = {}
    unknown = []
    for name in names:
        seen = known.get(name)
        if seen is not None and seen[0] == stamps[name]:
            checked[name] = Checked(seen[1], seen[2])
        else:
            unknown.append(name)
    if unknown:
        now = time.time_ns()
        for name, result in _check(store, unknown, options.threads(), options.progress):
            checked[name] = result
            known[name] = (stamps[name], result.sha256, result.reason)
        fresh = {
            name
            for name in unknown
            if any(abs(now - number) < _SETTLED_NANOSECONDS for number in stamps[name])
        }
        _remember(memory, {n: e for n, e in known.items() if n in stamps and n not in fresh})
    bad = [name for name in names if checked[name].reason]
    skipped = tuple(f"{printable(name)}: {printable(checked[name].reason or '')}" for name in bad)
    if bad and options.strict:
        raise SparsebenchError(
            f"{len(bad)} picture(s) of '{where}' cannot be decoded: {shortened(skipped, 3)}.",
            "Mend or remove them, or leave out --strict to skip them.",
        )
    out = set(bad)
    train = tuple(row for row in layout.train if row[0] not in out)
    test = tuple(row for row in layout.test if row[0] not in out)
    return GoodPictures(
        train,
        test,
        tuple((name, label, checked[path].sha256) for path, name, label in train),
        tuple((name, label, checked[path].sha256) for path, name, label in test),
        skipped,
    )


def _check(
    store: ByteStore,
    names: Sequence[str],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[str, Checked]]:
    chunks = [names[i : i + _CHUNK] for i in range(0, len(names), _CHUNK)]
    done = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="check")
    try:
        for chunk, results in zip(
            chunks, pool.map(lambda c: [_check_one(store, n) for n in c], chunks), strict=True
        ):
            yield from zip(chunk, results, strict=True)
            done += len(chunk)
            if progress:
                progress(done, len(names))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_one(store: ByteStore, name: str) -> Checked:
    try:
        data = store.read_bytes(name)
    except OSError as error:
        return Checked("", f"it cannot be read ({error.strerror or error})")
    return Checked(hashlib.sha256(data).hexdigest(), check_picture(data))


Entry = tuple[Stamp, str, str | None]


def _memory_path(where: Path, options: TaskOptions) -> Path | None:
    try:
        folder = options.cache_folder("checked")
    except SparsebenchError as error:
        log.warning("checked pictures are not remembered: %s", error)
        return None
    return folder / (hashlib.sha256(os.fsencode(where.resolve())).hexdigest()[:32] + ".json")


def _recall(path: Path | None) -> dict[str, Entry]:
    """What earlier checks found; empty when there is nothing, or nothing that makes sense."""
    if path is None or not path.exists():
        return {}
    try:
        data = json.loads(path.read_bytes())
        if data["decoder"] != _DECODER:
            return {}
        return {
            str(name): ([int(n) for n in stamp], str(sha256), None if why is None else str(why))
            for name, (stamp, sha256, why) in data["pictures"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        log.warning("%s is damaged; the pictures are checked again", path)
        return {}


def _remember(path: Path | None, entries: Mapping[str, Entry]) -> None:
    """Write atomically; a cache that cannot be written costs time, no result."""
    if path is None:
        return
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"decoder": _DECODER, "pictures": entries}, file)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        log.warning("checked pictures are not remembered: %s", error)
