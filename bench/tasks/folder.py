"""A directory of pictures in the ImageFolder layout."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from PIL import Image

from sparsebench.bench.tasks.base import Task, TaskOptions, labelled, printable, task_digest
from sparsebench.bench.tasks.layout import find_layout, split_folders
from sparsebench.bench.tasks.pictures import MAX_BYTES, UnreadablePictureError, decode_picture
from sparsebench.bench.tasks.scan import Stamp, good_pictures
from sparsebench.models.errors import SparsebenchError


@dataclass(frozen=True)
class FolderPictures:
    """Pictures as files below a root; items are paths relative to it."""

    root: Path

    def read_bytes(self, name: str) -> bytes:
        """The whole file."""
        path = self.root / name
        if not S_ISREG(path.stat().st_mode):
            raise OSError("it is no ordinary file")  # opening a pipe would wait for ever
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise OSError(f"larger than {MAX_BYTES >> 20} MiB")
            return file.read()

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        """One RGB picture; see :class:`sparsebench.bench.tasks.base.PictureStore`."""
        name = str(item)
        try:
            return decode_picture(self.read_bytes(name), at_least)
        except (OSError, UnreadablePictureError) as error:
            raise changed_picture(self.root, name, error) from error


def changed_picture(where: Path, name: str, error: Exception) -> SparsebenchError:
    """A picture that was fine when the task was opened and no longer is."""
    return SparsebenchError(
        f"The picture {printable(name)} of '{where}' can no longer be read: {error}.",
        "Leave the pictures alone during a run; start the run again.",
    )


def open_folder(root: Path, options: TaskOptions, only: tuple[str, ...] = ()) -> Task:
    """Open a directory with ``train/CLASS/`` and ``test/CLASS/`` (or ``val/``) in it.

    Args:
        root: the directory.
        options: see :class:`TaskOptions`.
        only: its train and its test folder; () to find them.

    Raises:
        SparsebenchError: another layout, classes that differ, a class without pictures,
            with ``strict`` an undecodable picture; an unreadable folder.
    """
    files: dict[str, Stamp] = {}
    folders: list[str] = []
    try:
        # Nothing else is walked: it may be somebody's whole home.
        for side in only or split_folders(*_top(root), str(root)):
            for path, stamp in _walk(root, side.rstrip("/"), frozenset()):
                if stamp is None:
                    folders.append(path)
                else:
                    files[path] = stamp
    except OSError as error:
        raise SparsebenchError(
            f"The folder {printable(str(error.filename))} cannot be read ({error.strerror}).",
            "Check its permissions.",
        ) from error
    layout = find_layout(files.keys(), folders, str(root))
    store = FolderPictures(root)
    good = good_pictures(layout, store, files, root, options)
    return Task(
        name=printable(root.resolve().name),
        classes=layout.classes,
        metric="top1",
        train=labelled(good.train),
        test=labelled(good.test),
        sha256=task_digest(layout.classes, good.train_rows, good.test_rows),
        store=store,
        skipped=good.skipped,
        ignored=layout.ignored,
    )


def _top(root: Path) -> tuple[list[str], list[str]]:
    """Files and folders in a root, and in the one folder in it if there is but one."""
    files: list[str] = []
    folders: list[str] = []
    for below in ("", None):
        if below is None:
            visible = [name for name in folders if not name.startswith((".", "__MACOSX"))]
            if len(visible) != 1:
                break
            below = f"{visible[0]}/"
        with os.scandir(root / below) as entries:
            for entry in entries:
                (folders if entry.is_dir() else files).append(f"{below}{entry.name}")
    return files, folders


def _walk(
    root: Path, below: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, Stamp | None]]:
    """Relative paths below a folder: (path, stamp) of files, (path, None) of folders.

    Links are followed, as people build data sets from links; a folder that contains itself
    is entered once.
    """
    folder = root / below
    me = folder.stat()
    key = (me.st_dev, me.st_ino)
    if key in above:
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{below}/{entry.name}" if below else entry.name
            try:
                stat = entry.stat()
            except OSError:
                yield path, [-1, 0, 0]  # a dangling or circular link; reading it says why
                continue
            if S_ISDIR(stat.st_mode):
                yield path, None
                yield from _walk(root, path, above | {key})
            else:
                yield path, [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
