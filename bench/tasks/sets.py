"""The paper's data sets as folders of pictures: where they are looked for, and fetched from.

Each may lie in the form that the paper's published code reads or in its owners' (which is
also torchvision's), below the data folder under one of a few usual names, or be the data
folder itself. Where it is missing, it is fetched from where torchvision fetches it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.tasks import originals
from bench.tasks.base import Task, TaskOptions
from bench.tasks.download import Remote, reach
from bench.tasks.facts import FACTS, TaskFacts
from bench.tasks.folder import open_folder
from bench.tasks.layout import Layout
from bench.tasks.listed import open_listed
from models.errors import SparsebenchError

log = logging.getLogger("sparsebench")


@dataclass(frozen=True)
class Form:
    """One way a data set lies on disk.

    Attributes:
        needs: paths below its folder that tell the form; ``a|b`` is either.
        read: from the folder to the split; None for ImageFolder.
    """

    needs: tuple[str, ...]
    read: Callable[[Path], Layout] | None = None

    def fits(self, place: Path) -> bool:
        """Whether a folder has this form."""
        return all(any((place / one).exists() for one in need.split("|")) for need in self.needs)

    def __str__(self) -> str:
        if self.read is None:
            return " and ".join(f"{need}CLASS/*.jpg" for need in self.needs)
        return ", ".join(need.replace("|", " or ") for need in self.needs)


@dataclass(frozen=True)
class PictureSet:
    """A data set of picture files.

    Attributes:
        folders: names its folder goes by, below the data folder; the last word on where a
            download ends up is the archive's.
        forms: that are understood, the paper's first.
        remotes: where it is fetched from; empty where torchvision knows no place either.
    """

    folders: tuple[str, ...]
    forms: tuple[Form, ...]
    remotes: tuple[Remote, ...] = ()


TRAIN_TEST = Form(("train/", "test/"))
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_SUN = "vision.princeton.edu/projects/2010/SUN"


def _partition(side: str) -> str:
    name = f"{side}_01.txt"
    return f"{name}|Partitions/{name}|Partitions/Partitions/{name}"


SETS: dict[str, PictureSet] = {
    "aircraft": PictureSet(
        ("fgvc-aircraft-2013b", "aircraft"),
        (
            Form(
                (
                    "data/images/",
                    "data/images_variant_trainval.txt",
                    "data/images_variant_test.txt",
                ),
                originals.read_aircraft,
            ),
        ),
        (
            Remote(
                f"{_OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "fgvc-aircraft-2013b.tar.gz",
            ),
        ),
    ),
    "birdsnap": PictureSet(("birdsnap", "birds"), (TRAIN_TEST,)),
    "caltech101": PictureSet(
        ("caltech101", "caltech-101"),
        (Form(("101_ObjectCategories/",), originals.read_caltech101),),
        (
            Remote(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "caltech-101.zip",
                "3138e1922a9193bfa496528edbbc45d0",
                "caltech101",
                inner=("caltech-101/101_ObjectCategories.tar.gz",),
            ),
        ),
    ),
    "caltech256": PictureSet(
        ("caltech256", "caltech-256"),
        (Form(("256_ObjectCategories/",), originals.read_caltech256),),
        (
            Remote(
                "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
                "256_ObjectCategories.tar",
                "67b4f42ca05d46448c6bb8ecd2220f6d",
                "caltech256",
            ),
        ),
    ),
    "cars": PictureSet(
        ("cars_new", "cars", "stanford_cars"),
        (
            TRAIN_TEST,
            Form(
                (
                    *("cars_train/", "cars_test/", "devkit/cars_meta.mat"),
                    *("devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"),
                ),
                originals.read_cars,
            ),
        ),
    ),
    "dtd": PictureSet(
        ("dtd/dtd", "dtd"),
        (
            Form(
                ("images/", "labels/train1.txt", "labels/val1.txt", "labels/test1.txt"),
                originals.read_dtd,
            ),
        ),
        (
            Remote(
                f"{_OXFORD}/dtd/download/dtd-r1.0.1.tar.gz",
                "dtd-r1.0.1.tar.gz",
                "fff73e5086ae6bdbea199a49dfb8a4c1",
                "dtd",
            ),
        ),
    ),
    "flowers102": PictureSet(
        ("oxford_flowers_pytorch", "flowers", "flowers102", "flowers-102"),
        (TRAIN_TEST, Form(("jpg/", "imagelabels.mat", "setid.mat"), originals.read_flowers)),
        tuple(
            Remote(f"{_OXFORD}/flowers/102/{name}", name, md5, "flowers-102")
            for name, md5 in (
                ("102flowers.tgz", "52808999861908f626f3c1f4e79d11fa"),
                ("imagelabels.mat", "e0620be6f572b9609742df49c70aed4d"),
                ("setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c"),
            )
        ),
    ),
    "food101": PictureSet(
        ("food-101", "food101", "food"),
        (
            Form(("train/", "valid/")),
            TRAIN_TEST,
            Form(("images/", "meta/train.json", "meta/test.json"), originals.read_food),
        ),
        (
            Remote(
                "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                "food-101.tar.gz",
                "85eeb15f3717b99a5da872d97d918f87",
            ),
        ),
    ),
    "pets": PictureSet(
        ("pets", "oxford-iiit-pet"),
        (
            TRAIN_TEST,
            Form(
                ("images/", "annotations/trainval.txt", "annotations/test.txt"),
                originals.read_pets,
            ),
        ),
        tuple(
            Remote(f"{_OXFORD}/pets/data/{name}.tar.gz", f"{name}.tar.gz", md5, "oxford-iiit-pet")
            for name, md5 in (
                ("images", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
                ("annotations", "95a8c909bbe2e81eed6a22bccdf3f68f"),
            )
        ),
    ),
    "sun397": PictureSet(
        ("SUN397/splits_01", "SUN397", "sun397", "SUN"),
        (
            TRAIN_TEST,
            Form(("a/", _partition("Training"), _partition("Testing")), originals.read_sun),
        ),
        (
            Remote(
                f"http://{_SUN}/SUN397.tar.gz",
                "SUN397.tar.gz",
                "8ca2778205c41d23104230ba66911c7a",
            ),
            Remote(
                f"https://{_SUN}/download/Partitions.zip",
                "Partitions.zip",
                into="SUN397/Partitions",
            ),
        ),
    ),
}


def find_set(name: str, root: Path) -> tuple[Path, Form] | None:
    """Where below a data folder a data set lies, and how; None where it does not."""
    for place in _places(name, root):
        for form in SETS[name].forms:
            if form.fits(place):
                return place, form
    return None


def open_set(name: str, options: TaskOptions) -> Task:
    """Open one of the paper's data sets of picture files, fetching it where it is missing.

    Args:
        name: one of `SETS`.
        options: see :class:`TaskOptions`.

    Raises:
        SparsebenchError: it is not there and cannot or may not be fetched; its folder has
            another layout (what was expected is said) or another number of classes; what
            the readers raise.
    """
    root = options.data_dir or options.cache_folder("downloads")
    try:
        place, form = _found(name, root, options)
        facts = FACTS[name]
        if form.read is None:
            sides = tuple(need.rstrip("/") for need in form.needs)
            task = open_folder(place, options, only=sides)
            task = replace(task, name=name, metric=facts.metric)
        else:
            task = open_listed(name, place, form.read(place), facts.metric, options)
    except OSError as error:
        raise SparsebenchError(
            f"'{name}' cannot be looked for: {error.filename or root} cannot be read "
            f"({error.strerror or error}).",
            "Check its permissions.",
        ) from error
    return _compared(task, facts, place)


def _found(name: str, root: Path, options: TaskOptions) -> tuple[Path, Form]:
    found = find_set(name, root)
    if found is None:
        _no_other_layout(name, root)
        _obtain(name, root, options)
        found = find_set(name, root)
    if found is None:
        raise SparsebenchError(
            f"What was fetched for '{name}' into {root} has an unknown layout.", _expected(name)
        )
    return found


def _places(name: str, root: Path) -> Iterator[Path]:
    for folder in SETS[name].folders:
        yield root / folder
    yield root


def _expected(name: str) -> str:
    known = SETS[name]
    forms = "; or ".join(str(form) for form in known.forms)
    return f"Expected in a folder {' or '.join(known.folders)}: {forms}."


def _no_other_layout(name: str, root: Path) -> None:
    """A folder of the right name that holds something else is not covered by a download."""
    for folder in SETS[name].folders:
        place = root / folder
        if place.is_dir() and (there := sorted(path.name for path in place.iterdir())):
            # A folder of the same name may stand around the real one ("dtd/dtd").
            shown = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if there[5:] else "")
            raise SparsebenchError(
                f"'{place}' is no '{name}' that can be read; it holds {shown}.", _expected(name)
            )


def _obtain(name: str, root: Path, options: TaskOptions) -> None:
    remotes = SETS[name].remotes
    absent = f"The data set '{name}' is not in {root}"
    if not remotes:
        raise SparsebenchError(
            f"{absent}, and there is no archive of it to fetch.",
            f"Give its folder with --data-dir. {_expected(name)}",
        )
    if not options.download:
        raise SparsebenchError(
            f"{absent}.", f"Allow the download, or copy it there. {_expected(name)}"
        )
    if (reason := reach(remotes[0].url)) is not None:
        raise SparsebenchError(
            f"{absent} and cannot be downloaded from here ({reason}).",
            f"Copy it there, or take the task 'digits'. {_expected(name)}",
        )
    from bench.tasks.unpacking import fetch_and_unpack

    fetch_and_unpack(name, remotes, root, options.say or log.info)


def _compared(task: Task, facts: TaskFacts, place: Path) -> Task:
    """Hold a task to what is known of it.

    Raises:
        SparsebenchError: another number of classes: whatever it is, it is not this task.
    """
    if len(task.classes) != facts.classes:
        raise SparsebenchError(
            f"'{place}' has {len(task.classes)} classes, '{task.name}' has {facts.classes}.",
            "To use the folder as it is, name it: --task FOLDER, with train/CLASS/ and "
            "test/CLASS/ in it.",
        )
    notes = []
    for side, known in (("train", facts.train), ("test", facts.test)):
        if (found := len(task.split(side))) != known:
            report = "is reported to have" if side in facts.unverified else "has"
            notes.append(
                f"{found:,} {side} pictures; the paper's split {report} {known:,}: accuracies "
                "may not compare with the paper's"
            )
    return replace(task, notes=(*task.notes, *notes))


def open_aircraft(options: TaskOptions) -> Task:
    """FGVC Aircraft: 100 variants of aeroplanes."""
    return open_set("aircraft", options)


def open_birdsnap(options: TaskOptions) -> Task:
    """Birdsnap: 500 species of North American birds."""
    return open_set("birdsnap", options)


def open_caltech101(options: TaskOptions) -> Task:
    """Caltech-101: 101 kinds of things; the first 30 pictures of each train."""
    return open_set("caltech101", options)


def open_caltech256(options: TaskOptions) -> Task:
    """Caltech-256: 257 kinds of things; the first 60 pictures of each train."""
    return open_set("caltech256", options)


def open_cars(options: TaskOptions) -> Task:
    """Stanford Cars: 196 models of cars."""
    return open_set("cars", options)


def open_dtd(options: TaskOptions) -> Task:
    """Describable Textures, split 1: 47 words for textures; its train and val sides train."""
    return open_set("dtd", options)


def open_flowers102(options: TaskOptions) -> Task:
    """Oxford 102 Flowers: its train and val sides train."""
    return open_set("flowers102", options)


def open_food101(options: TaskOptions) -> Task:
    """Food-101: 101 dishes; the training labels are noisy."""
    return open_set("food101", options)


def open_pets(options: TaskOptions) -> Task:
    """Oxford-IIIT Pets: 37 breeds of cats and dogs."""
    return open_set("pets", options)


def open_sun397(options: TaskOptions) -> Task:
    """SUN397, partition 1: 397 kinds of scenes."""
    return open_set("sun397", options)
