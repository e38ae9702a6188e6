"""The files of a folder or an archive, read in place, whatever they are."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.folder import FolderImages, walk
from sparsebench.models.images.scan import CheckableStore, Stamp
from sparsebench.models.images.text import printable


@dataclass(frozen=True)
class Tree:
    """Files by their paths below the root.

    Attributes:
        name: of the folder or archive.
        where: the folder or archive.
        store: reads a file's bytes, or an image's pixels.
        stamps: path -> numbers that change when the file does.
        refused: ``"name: reason"`` of what is left out already.
    """

    name: str
    where: Path
    store: CheckableStore
    stamps: Mapping[str, Stamp]
    refused: tuple[str, ...] = ()

    def read(self, path: str, most: int) -> bytes:
        """A file of at most so many bytes.

        Raises:
            SparsebenchError: it is larger, or cannot be read.
        """
        size = self.stamps[path][-1] if len(self.stamps[path]) > 3 else self.stamps[path][0]
        if size > most:
            raise SparsebenchError(
                f"'{printable(path)}' of '{self.where}' is larger than {most >> 20} MiB.",
                "Split the data set, or leave out what is not needed.",
            )
        try:
            return self.store.read_bytes(path)
        except OSError as error:
            raise SparsebenchError(
                f"'{printable(path)}' of '{self.where}' cannot be read "
                f"({error.strerror or error}).",
                "Check its permissions.",
            ) from error


def names_at_top(root: Path, special: str) -> list[str]:
    """What lies in a folder, at most three levels deep; folders have a slash behind.

    Of each folder no more than its first entries are looked at: it may be somebody's whole home.

    Args:
        root: the folder.
        special: name of a file that is found among any number of others.
    """
    found: list[str] = []
    level = [""]
    for _ in range(3):
        deeper = []
        for below in level:
            try:
                with os.scandir(root / below) as entries:
                    for entry, _ in zip(entries, range(_MOST_ENTRIES), strict=False):
                        path = below + entry.name + ("/" if entry.is_dir() else "")
                        found.append(path)
                        if path.endswith("/"):
                            deeper.append(path)
            except OSError:
                continue  # whoever opens the images says so
            if (root / below / special).is_file():
                found.append(below + special)
        level = deeper[:_MOST_FOLDERS]
    return found


_MOST_ENTRIES, _MOST_FOLDERS = 5000, 50


def folder_tree(root: Path, prefix: str, tops: Collection[str]) -> Tree:
    """The files of a folder: those at its top, and those below some of its folders.

    Args:
        root: the folder.
        prefix: of the folder that wraps the others, empty or with its slash.
        tops: names of folders that are walked, in small letters.

    Raises:
        SparsebenchError: an unreadable folder.
    """
    stamps: dict[str, Stamp] = {}
    try:
        with os.scandir(root / prefix) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = prefix + entry.name
                if entry.is_dir():
                    if entry.name.lower().rstrip("0123456789") in tops:
                        below = walk(root, path, frozenset())
                        stamps.update((p, stamp) for p, stamp in below if stamp is not None)
                elif entry.is_file():
                    stat = entry.stat()
                    stamps[path] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    except OSError as error:
        raise SparsebenchError(
            f"The folder {printable(str(error.filename))} cannot be read ({error.strerror}).",
            "Check its permissions.",
        ) from error
    return Tree(root.resolve().name, root, FolderImages(root), stamps)
