"""A directory of images in the ImageFolder layout."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from PIL import Image

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.decoding import MAX_BYTES, UnreadableImageError, decode_image
from sparsebench.models.images.endings import HEAD_BYTES
from sparsebench.models.images.labelled import LabelledImages, ReadOptions
from sparsebench.models.images.layout import find_layout, split_folders
from sparsebench.models.images.scan import Stamp, readable_images
from sparsebench.models.images.text import printable


@dataclass(frozen=True)
class FolderImages:
    """Images as files below a root; items are paths relative to it."""

    root: Path

    def read_bytes(self, name: str) -> bytes:
        """The whole file."""
        path = self.root / name
        if not S_ISREG(path.stat().st_mode):
            raise OSError("it is not an ordinary file")  # opening a pipe would wait for ever
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise OSError(f"larger than {MAX_BYTES >> 20} MiB")
            return file.read()

    def read_head(self, name: str) -> bytes:
        """The file's first bytes; nothing where it cannot be read."""
        path = self.root / name
        try:
            if not S_ISREG(path.stat().st_mode):
                return b""
            with open(path, "rb") as file:
                return file.read(HEAD_BYTES)
        except OSError:
            return b""

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        """One RGB image; see :class:`sparsebench.models.images.labelled.ImageStore`."""
        name = str(item)
        try:
            return decode_image(self.read_bytes(name), at_least)
        except (OSError, UnreadableImageError) as error:
            raise changed_image(self.root, name, error) from error


def changed_image(where: Path, name: str, error: Exception) -> SparsebenchError:
    """An image that was fine when the task was opened and no longer is."""
    return SparsebenchError(
        f"The image {printable(name)} of '{where}' can no longer be read: {error}.",
        "Leave the images alone during a run; start the run again.",
    )


def open_folder(root: Path, options: ReadOptions, only: tuple[str, ...] = ()) -> LabelledImages:
    """Open a directory with ``train/CLASS/`` and ``test/CLASS/`` (or ``val/``) in it.

    Args:
        root: the directory.
        options: see :class:`ReadOptions`.
        only: its train and its test folder; () to find them.

    Raises:
        SparsebenchError: another layout, classes that differ, a class without images,
            and what :func:`sparsebench.models.images.scan.readable_images` raises;
            an unreadable folder.
    """
    files: dict[str, Stamp] = {}
    folders: list[str] = []
    try:
        # Nothing else is walked: it may be somebody's whole home.
        for side in only or split_folders(*_top(root), str(root)):
            for path, stamp in walk(root, side.rstrip("/"), frozenset()):
                if stamp is None:
                    folders.append(path)
                else:
                    files[path] = stamp
    except OSError as error:
        raise SparsebenchError(
            f"The folder {printable(str(error.filename))} cannot be read ({error.strerror}).",
            "Check its permissions.",
        ) from error
    store = FolderImages(root)
    layout = find_layout(files.keys(), folders, str(root), head=store.read_head)
    return readable_images(root.resolve().name, layout, store, files, root, options)


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


def walk(
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
                yield from walk(root, path, above | {key})
            else:
                yield path, [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
