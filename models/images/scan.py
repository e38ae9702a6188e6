"""Which images can be decoded, found out before a split is fixed, and paid for once.

Every image is decoded when a task is opened for the first time. What was found (its
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
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import PIL

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.decoding import check_image
from sparsebench.models.images.endings import NO_ENDING, ending_of
from sparsebench.models.images.labelled import (
    ImageStore,
    LabelledImages,
    ReadOptions,
    labelled,
    split_digest,
)
from sparsebench.models.images.layout import Layout
from sparsebench.models.images.losses import UNDECODABLE, ClassLoss, Losses
from sparsebench.models.images.text import printable, shortened

log = logging.getLogger("sparsebench")

Stamp = list[int]
"""Numbers that change when a file does: size, mtime, ctime (nanoseconds), and more."""

# Pillow decides what can be decoded; bump the number when our own rules change.
_DECODER = f"1 pillow {PIL.__version__}"
_CHUNK = 16
# A file changed within the resolution of the clock could change again under the same
# stamp, so what was seen of it is not remembered.
_SETTLED_NANOSECONDS = 100_000_000


class CheckableStore(ImageStore, Protocol):
    """Reads the bytes of an image by its name, too."""

    def read_bytes(self, name: str) -> bytes:
        """The whole file; raises OSError."""
        ...


@dataclass(frozen=True)
class Checked:
    """What is known of one image file.

    Attributes:
        sha256: of its bytes; empty when it could not be read.
        reason: why it cannot be decoded, None when it can.
    """

    sha256: str
    reason: str | None


def readable_images(
    name: str,
    layout: Layout,
    store: CheckableStore,
    stamps: Mapping[str, Stamp],
    where: Path,
    options: ReadOptions,
    refused: Sequence[str] = (),
) -> LabelledImages:
    """The images of a layout without those that cannot be decoded.

    Args:
        name: what the data set is called.
        layout: from :func:`sparsebench.models.images.layout.find_layout`.
        store: reads an image's bytes, later its pixels.
        stamps: by path; see `Stamp`.
        where: the folder or archive, under whose path the result is remembered.
        options: cache folder, threads, strictness, progress.
        refused: ``"name: reason"`` of what whoever made the layout left out already.

    Raises:
        SparsebenchError: with ``strict``, an image that is left out; a class that loses most of
            its images, unless that is allowed.
    """
    names = [path for path, _, _ in (*layout.train, *layout.test)]
    checked = checked_files(names, store, stamps, where, options)
    bad = {path for path, result in checked.items() if result.reason}
    skipped = tuple(
        f"{printable(path)}: {printable(checked[path].reason or '')}"
        for path, _, _ in (*layout.train, *layout.test)
        if path in bad
    )
    if bad and options.strict:
        raise SparsebenchError(
            f"{len(bad)} image(s) of '{where}' cannot be decoded: {shortened(skipped, 3)}.",
            "Repair or remove them, or leave out --strict to skip them.",
        )
    losses = _losses(layout, bad)
    if losses.lost and options.strict:
        raise SparsebenchError(
            f"Images of '{where}' are left out: {shortened(losses.lines(), 3)}.",
            "Convert or remove them, or leave out --strict.",
        )
    if not options.allow_image_loss:
        losses.refuse_most(str(where))
    good = [[row for row in rows if row[0] not in bad] for rows in (layout.train, layout.test)]
    digests = [[(inner, label, checked[path].sha256) for path, inner, label in s] for s in good]
    return LabelledImages(
        name=printable(name),
        classes=layout.classes,
        train=labelled(good[0]),
        test=labelled(good[1]),
        sha256=split_digest(layout.classes, *digests),
        store=store,
        skipped=(*refused, *skipped),
        ignored=layout.ignored,
        others=layout.others,
        losses=losses,
    )


def _losses(layout: Layout, bad: Collection[str]) -> Losses:
    """What the classes lose: by their endings, and because it cannot be decoded."""
    left_out = {name: Counter(found) for name, found in layout.left_out.items()}
    kept: Counter[str] = Counter()
    for side, rows in (("train", layout.train), ("test", layout.test)):
        for path, inner, label in rows:
            key = f"{side}/{layout.classes[label]}"
            if path in bad:
                ending = ending_of(inner) or NO_ENDING
                left_out.setdefault(key, Counter())[f"{ending} {UNDECODABLE}"] += 1
            else:
                kept[key] += 1
    return Losses({key: ClassLoss(kept[key], dict(found)) for key, found in left_out.items()})


def checked_files(
    names: Sequence[str],
    store: CheckableStore,
    stamps: Mapping[str, Stamp],
    where: Path,
    options: ReadOptions,
) -> dict[str, Checked]:
    """What is known of each image: remembered, or found out now.

    Args:
        names: paths of image files.
        store: reads a file's bytes.
        stamps: by path; see `Stamp`.
        where: the folder or archive, under whose path the result is remembered.
        options: cache folder, threads, progress.
    """
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
    return checked


def _check(
    store: CheckableStore,
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


def _check_one(store: CheckableStore, name: str) -> Checked:
    try:
        data = store.read_bytes(name)
    except OSError as error:
        return Checked("", f"it cannot be read ({error.strerror or error})")
    return Checked(hashlib.sha256(data).hexdigest(), check_image(data))


Entry = tuple[Stamp, str, str | None]


def _memory_path(where: Path, options: ReadOptions) -> Path | None:
    try:
        folder = options.cache_folder("checked")
    except SparsebenchError as error:
        log.warning("checked images are not remembered: %s", error)
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        log.warning("%s is damaged; the images are checked again", path)
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
        log.warning("checked images are not remembered: %s", error)
