"""The ImageFolder layout: which files of a folder or archive are pictures of which class.

Expected: ``train/CLASS/…`` and ``test/CLASS/…`` (or ``val``, ``valid``, ``validation``),
at the top or inside one wrapping folder. Pictures may lie in folders below a class's own.
Names starting with a dot and ``__MACOSX`` are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sparsebench.bench.tasks.base import printable, shortened
from sparsebench.bench.tasks.pictures import is_picture_name
from sparsebench.models.errors import SparsebenchError

TRAIN_NAMES = ("train", "training")
# In order of preference: a test folder beside a validation folder wins.
TEST_NAMES = ("test", "testing", "val", "valid", "validation")
EXPECTED = (
    "Expected: train/CLASS/picture.jpg and test/CLASS/picture.jpg (or val/ instead of test/), "
    "the same classes in both."
)


@dataclass(frozen=True)
class Layout:
    """The pictures of both sides, sorted by class, then by path.

    Attributes:
        classes: class names, sorted.
        train: (path below the root, path below the split's folder, label) of each picture.
        test: likewise.
        ignored: number of files that are no pictures or lie outside every class.
    """

    classes: tuple[str, ...]
    train: tuple[tuple[str, str, int], ...]
    test: tuple[tuple[str, str, int], ...]
    ignored: int


def find_layout(files: Collection[str], folders: Collection[str], where: str) -> Layout:
    """Sort files into splits and classes.

    Args:
        files: paths with ``/``, relative to the root.
        folders: likewise; so that a class folder without any file is noticed.
        where: how messages call the root.

    Raises:
        SparsebenchError: no train or no test folder, classes that differ between the two,
            a class without pictures; says what is expected and what is there.
    """
    paths = [path for path in files if not _hidden(path)]
    below = [path for path in folders if not _hidden(path)]
    train, test = _split_folders(paths, below, _wrapper(paths, below), where)
    pictures: dict[str, dict[str, list[str]]] = {}
    for side in (train, test):
        found: dict[str, list[str]] = {name: [] for name in _children(below, paths, side)}
        for path in paths:
            if path.startswith(side):
                name, slash, rest = path[len(side) :].partition("/")
                if slash and is_picture_name(rest):
                    found[name].append(path)
        pictures[side] = found
    classes = _same_classes(pictures[train], pictures[test], train, test, where)
    sides = []
    for side in (train, test):
        _no_empty_class(pictures[side], side, where)
        sides.append(
            tuple(
                (path, path[len(side) :], label)
                for label, name in enumerate(classes)
                for path in sorted(pictures[side][name])
            )
        )
    used = len(sides[0]) + len(sides[1])
    return Layout(classes, sides[0], sides[1], ignored=len(files) - used)


def split_folders(files: Collection[str], folders: Collection[str], where: str) -> tuple[str, str]:
    """The train and the test folder, each with its slash, told from the top of a tree.

    Args:
        files: paths in the root, and in the one folder in it if there is but one.
        folders: likewise.
        where: how messages call the root.

    Raises:
        SparsebenchError: one of the two is missing.
    """
    paths = [path for path in files if not _hidden(path)]
    below = [path for path in folders if not _hidden(path)]
    return _split_folders(paths, below, _wrapper(paths, below), where)


def _hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _tops(paths: Iterable[str], prefix: str) -> set[str]:
    """Names of the folders directly below a prefix (``""`` or ending with a slash)."""
    size = len(prefix)
    return {
        path[size:].partition("/")[0]
        for path in paths
        if path.startswith(prefix) and "/" in path[size:]
    }


def _wrapper(files: Sequence[str], folders: Sequence[str]) -> str:
    """The prefix of the one folder that wraps train and test, if one does."""
    everything = [*files, *(folder + "/" for folder in folders)]
    tops = _tops(everything, "")
    if len(tops) == 1 and not _split_name(tops, (*TRAIN_NAMES, *TEST_NAMES)):
        return next(iter(tops)) + "/"
    return ""


def _split_name(tops: Iterable[str], wanted: Sequence[str]) -> str | None:
    by_lower = {name.lower(): name for name in sorted(tops)}  # train wins over Train
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def _split_folders(
    files: Sequence[str], folders: Sequence[str], prefix: str, where: str
) -> tuple[str, str]:
    tops = _tops([*files, *(folder + "/" for folder in folders)], prefix)
    train, test = _split_name(tops, TRAIN_NAMES), _split_name(tops, TEST_NAMES)
    if train is None or test is None:
        missing = " and ".join(
            name for name, found in (("train/", train), ("test/", test)) if found is None
        )
        loose = sum(1 for path in files if "/" not in path[len(prefix) :])
        there = [f"{prefix}{name}/" for name in sorted(tops)]
        found = shortened(there) if there else "no folder"
        if loose:
            found += f" and {loose} loose file(s)"
        raise SparsebenchError(f"'{where}' has no {missing} folder; it holds {found}.", EXPECTED)
    return f"{prefix}{train}/", f"{prefix}{test}/"


def _children(folders: Sequence[str], files: Sequence[str], side: str) -> list[str]:
    return sorted(_tops([*files, *(folder + "/" for folder in folders)], side))


def _same_classes(
    train: Collection[str], test: Collection[str], train_name: str, test_name: str, where: str
) -> tuple[str, ...]:
    if not train or not test:
        empty = train_name if not train else test_name
        raise SparsebenchError(f"'{where}' has no class folder in {printable(empty)}.", EXPECTED)
    differences = []
    for name, only in (
        (train_name, sorted(set(train) - set(test))),
        (test_name, sorted(set(test) - set(train))),
    ):
        if only:
            differences.append(f"only in {printable(name)}: {shortened(only)}")
    if differences:
        raise SparsebenchError(
            f"The classes of '{where}' differ: {'; '.join(differences)}.",
            "Give train and test the same class folders.",
        )
    return tuple(sorted(train))


def _no_empty_class(found: dict[str, list[str]], side: str, where: str) -> None:
    empty = [side + name + "/" for name, paths in found.items() if not paths]
    if empty:
        raise SparsebenchError(
            f"'{where}' has class folders without a picture: {shortened(empty)}.",
            "Put pictures there (jpg, png, webp, bmp, gif, tif, ppm), or remove the class "
            "from train and test.",
        )
