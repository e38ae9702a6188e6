"""How the owners of the paper's data sets lay them out: one reader each.

A reader gets the data set's folder, in which the paths it needs exist (``bench.tasks.known``
has looked), and returns the paper's split. The same files serve torchvision's classes; the
tests compare the two.

torchvision 0.29's own classes are not used: of these nine sets it has no split for three
(Caltech-101 and 256, SUN397), the names of the files, which the split's hash needs, are private
attributes under three names (two of the classes have none), and whatever is missing is "Dataset
not found".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparsebench.bench.tasks.listed import FIX, Row, listed_layout
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.layout import Layout
from sparsebench.models.images.text import shortened


def read_aircraft(root: Path) -> Layout:
    """FGVC Aircraft, variants: ``data/images_variant_{trainval,test}.txt``."""

    def rows(side: str) -> Iterator[Row]:
        for number, line in _lines(root / f"data/images_variant_{side}.txt"):
            image, space, name = line.partition(" ")
            if not space:
                raise _bad_line(root / f"data/images_variant_{side}.txt", number, line)
            yield f"data/images/{image}.jpg", name.strip()

    return listed_layout(rows("trainval"), rows("test"), root)


def read_dtd(root: Path) -> Layout:
    """DTD, split 1: ``labels/{train,val}1.txt`` train, ``labels/test1.txt`` tests.

    The paper's code also wants ``labels/classes.txt``, which the owners' archive has not;
    where it is, the lists must agree with it.
    """

    def rows(side: str) -> Iterator[Row]:
        for number, line in _lines(root / f"labels/{side}1.txt"):
            name, slash, _ = line.partition("/")
            if not slash:
                raise _bad_line(root / f"labels/{side}1.txt", number, line)
            yield f"images/{line}", name

    classes = root / "labels/classes.txt"
    known = [line for _, line in _lines(classes)] if classes.exists() else None
    return listed_layout([*rows("train"), *rows("val")], rows("test"), root, known)


def read_pets(root: Path) -> Layout:
    """Oxford-IIIT Pet: ``annotations/{trainval,test}.txt``, NAME CLASS SPECIES BREED."""
    numbers: dict[str, str] = {}

    def rows(side: str) -> Iterator[Row]:
        path = root / f"annotations/{side}.txt"
        for number, line in _lines(path):
            parts = line.split()
            if len(parts) != 4 or "_" not in parts[0]:
                raise _bad_line(path, number, line)
            name = parts[0].rpartition("_")[0]
            if numbers.setdefault(name, parts[1]) != parts[1]:
                raise SparsebenchError(
                    f"{path}, line {number}: '{name}' is class {parts[1]} here and "
                    f"{numbers[name]} elsewhere.",
                    FIX,
                )
            yield f"images/{parts[0]}.jpg", name

    return listed_layout(rows("trainval"), rows("test"), root)


def read_food(root: Path) -> Layout:
    """Food-101: ``meta/{train,test}.json``, class -> images."""

    def rows(side: str) -> Iterator[Row]:
        path = root / f"meta/{side}.json"
        try:
            listed = json.loads(path.read_bytes())
            for name, images in listed.items():
                for image in images:
                    yield f"images/{image}.jpg", str(name)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise _unreadable(path, error) from error

    return listed_layout(rows("train"), rows("test"), root)


def read_flowers(root: Path) -> Layout:
    """Oxford 102 Flowers: ``setid.mat`` (trnid and valid train, tstid tests), labels 1-102."""
    labels = _numbers(root / "imagelabels.mat", "labels")

    def rows(*keys: str) -> Iterator[Row]:
        for key in keys:
            for image in _numbers(root / "setid.mat", key):
                if not 1 <= image <= len(labels):
                    raise SparsebenchError(
                        f"{root / 'setid.mat'} names image {image}, but "
                        f"{len(labels)} have a label.",
                        FIX,
                    )
                yield f"jpg/image_{image:05d}.jpg", f"{labels[image - 1]:03d}"

    known = [f"{label:03d}" for label in range(1, 103)]
    return listed_layout(rows("trnid", "valid"), rows("tstid"), root, known)


def read_cars(root: Path) -> Layout:
    """Stanford Cars: ``devkit`` and ``cars_test_annos_withlabels.mat``; labels 1-196."""
    names = [str(name) for name in _mat(root / "devkit/cars_meta.mat", "class_names").tolist()]

    def rows(path: Path, folder: str) -> Iterator[Row]:
        try:
            found = [(str(row["fname"]), int(row["class"])) for row in _mat(path, "annotations")]
        except (ValueError, TypeError, IndexError) as error:
            raise _unreadable(path, error) from error
        for image, label in found:
            if not 1 <= label <= len(names):
                raise SparsebenchError(
                    f"{path} has the label {label}, but there are {len(names)} classes.",
                    f"Labels go from 1 to {len(names)}. {FIX}",
                )
            yield f"{folder}/{image}", names[label - 1]

    return listed_layout(
        rows(root / "devkit/cars_train_annos.mat", "cars_train"),
        rows(root / "cars_test_annos_withlabels.mat", "cars_test"),
        root,
        names,
    )


def read_sun(root: Path) -> Layout:
    """SUN397, partition 1: ``Training_01.txt`` and ``Testing_01.txt``, 50 a class each."""

    def rows(side: str) -> Iterator[Row]:
        path = next(
            place / f"{side}_01.txt"
            for place in (root, root / "Partitions", root / "Partitions/Partitions")
            if (place / f"{side}_01.txt").exists()
        )
        for number, line in _lines(path):
            parts = line.strip("/").split("/")
            if len(parts) < 3 or ".." in parts:
                raise _bad_line(path, number, line)
            yield "/".join(parts), "/".join(parts[1:-1])  # without the letter it starts with

    return listed_layout(rows("Training"), rows("Testing"), root)


def read_caltech101(root: Path) -> Layout:
    """Caltech-101: of each class the first 30 files train, all others test."""
    return first_files(root, "101_ObjectCategories", 30, leave_out=("BACKGROUND_Google",))


def read_caltech256(root: Path) -> Layout:
    """Caltech-256 (with its class "clutter"): of each class the first 60 files train."""
    return first_files(root, "256_ObjectCategories", 60)


def first_files(root: Path, folder: str, train: int, leave_out: tuple[str, ...] = ()) -> Layout:
    """The paper's Caltech split: by file name, nothing is drawn.

    Only ``.jpg`` files directly in a class's folder count: Caltech-256 has a folder and a
    stray file inside two classes.

    Args:
        root: the data set's folder.
        folder: what holds the class folders.
        train: training images of each class.
        leave_out: class folders that are no classes.

    Raises:
        SparsebenchError: a class with too few images to test on any.
    """
    sides: tuple[list[Row], list[Row]] = ([], [])
    short = []
    for place in sorted((root / folder).iterdir()):
        if not place.is_dir() or place.name.startswith(".") or place.name in leave_out:
            continue
        names = sorted(
            path.name for path in place.iterdir() if path.suffix == ".jpg" and path.is_file()
        )
        if len(names) <= train:
            short.append(f"{place.name} ({len(names)})")
        for number, name in enumerate(names):
            sides[number >= train].append((f"{folder}/{place.name}/{name}", place.name))
    if short:
        raise SparsebenchError(
            f"Classes of '{root / folder}' have {train} images or fewer: {shortened(short)}. "
            f"The first {train} of each class train, the others test.",
            FIX,
        )
    return listed_layout(*sides, root)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that hold something; ``#`` begins a remark."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            yield number, line


def _numbers(path: Path, key: str) -> list[int]:
    return [int(number) for number in _mat(path, key).ravel().tolist()]


def _mat(path: Path, key: str) -> Any:
    """One array of a MATLAB file."""
    import numpy as np
    from scipy.io import loadmat

    try:
        return np.atleast_1d(loadmat(path, squeeze_me=True)[key])
    except Exception as error:  # whatever scipy meets in a damaged file
        raise _unreadable(path, error) from error


def _bad_line(path: Path, number: int, line: str) -> SparsebenchError:
    return SparsebenchError(f"{path}, line {number} makes no sense: {shortened([line[:80]])}.", FIX)


def _unreadable(path: Path, error: Exception) -> SparsebenchError:
    why = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return SparsebenchError(f"{path} cannot be read ({why}).", FIX)
