"""The ImageFolder layout: which files of a folder or archive are images of which class.

Expected: ``train/CLASS/…`` and ``test/CLASS/…`` (or ``val``, ``valid``, ``validation``),
at the top or inside one wrapping folder. Images may lie in folders below a class's own.
Names starting with a dot and ``__MACOSX`` are left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.endings import (
    NO_ENDING,
    begins_like_an_image,
    ending_of,
    is_image_name,
    left_out_ending,
)
from sparsebench.models.images.text import printable, shortened

TRAIN_NAMES = ("train", "training")
# In order of preference: a test folder beside a validation folder wins.
TEST_NAMES = ("test", "testing", "val", "valid", "validation")
EXPECTED = (
    "Expected: train/CLASS/image.jpg and test/CLASS/image.jpg (or val/ instead of test/), "
    "the same classes in both."
)


@dataclass(frozen=True)
class Layout:
    """The images of both sides, sorted by class, then by path.

    Attributes:
        classes: class names, sorted.
        train: (path below the root, path below the split's folder, label) of each image.
        test: likewise.
        ignored: number of files that are no images or lie outside every class.
        others: ending -> files inside of classes that are no images by name and content.
        left_out: ``train/CLASS`` or ``test/CLASS`` -> ending -> images there that are not read.
    """

    classes: tuple[str, ...]
    train: tuple[tuple[str, str, int], ...]
    test: tuple[tuple[str, str, int], ...]
    ignored: int
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)


def find_layout(
    files: Collection[str],
    folders: Collection[str],
    where: str,
    *,
    head: Callable[[str], bytes] = lambda path: b"",
    unusable: Collection[str] = (),
) -> Layout:
    """Sort files into splits and classes.

    Args:
        files: paths with ``/``, relative to the root.
        folders: likewise; so that a class folder without any file is noticed.
        where: how messages call the root.
        head: the first bytes of a file, for endings that do not say whether it is an image.
        unusable: paths of further files that cannot be read; images among them are left out.

    Raises:
        SparsebenchError: no train or no test folder, classes that differ between the two,
            a class without images; says what is expected and what is there.
    """
    paths = [path for path in files if not _hidden(path)]
    below = [path for path in folders if not _hidden(path)]
    train, test = _split_folders(paths, below, _wrapper(paths, below), where)
    images: dict[str, dict[str, list[str]]] = {}
    left_out: dict[str, dict[str, Counter[str]]] = {}
    others: Counter[str] = Counter()
    for side in (train, test):
        images[side] = {name: [] for name in _children(below, paths, side)}
        left_out[side] = {name: Counter() for name in images[side]}
        for path in paths:
            name, rest = _in_class(path, side)
            if not rest:
                continue
            if is_image_name(rest):
                images[side][name].append(path)
            elif ending := _not_read(path, head):
                left_out[side][name][ending] += 1
            else:
                others[ending_of(rest) or NO_ENDING] += 1
        for path in unusable:
            name, rest = _in_class(path, side)
            if name in images[side] and is_image_name(rest):
                left_out[side][name][f"{ending_of(rest)} that cannot be read"] += 1
    classes = _same_classes(images[train], images[test], train, test, where)
    sides = []
    for side in (train, test):
        _no_empty_class(images[side], left_out[side], side, where)
        sides.append(
            tuple(
                (path, path[len(side) :], label)
                for label, name in enumerate(classes)
                for path in sorted(images[side][name])
            )
        )
    used = len(sides[0]) + len(sides[1])
    lost = {
        f"{shown}/{name}": dict(found)
        for shown, side in (("train", train), ("test", test))
        for name, found in left_out[side].items()
        if found
    }
    return Layout(
        classes, sides[0], sides[1], ignored=len(files) - used, left_out=lost, others=others
    )


def _in_class(path: str, side: str) -> tuple[str, str]:
    """The class of a path below a side and the rest behind it; empty where it is in none."""
    if not path.startswith(side):
        return "", ""
    name, _, rest = path[len(side) :].partition("/")
    return name, rest


def _not_read(path: str, head: Callable[[str], bytes]) -> str | None:
    """What to count a file as that is not read but seems an image; None for anything else."""
    ending = left_out_ending(path)
    if ending:
        return ending
    # An ending that says nothing, or not the truth: x.jpg.txt.
    return (ending_of(path) or NO_ENDING) if begins_like_an_image(head(path)) else None


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


def _no_empty_class(
    found: dict[str, list[str]], left_out: Mapping[str, Counter[str]], side: str, where: str
) -> None:
    empty = [
        side + name + "/" + "".join(f" ({n} {ending})" for ending, n in left_out[name].items())
        for name, paths in found.items()
        if not paths
    ]
    if empty:
        raise SparsebenchError(
            f"'{where}' has class folders without an image: {shortened(empty)}.",
            "Put images there (jpg, png, webp, bmp, gif, tif, ppm), or remove the class "
            "from train and test.",
        )
