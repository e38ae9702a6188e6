"""The paper's data sets of image files: how each may lie on disk, and where it is fetched.

Each may have the form that the paper's published code reads or its owners' (which is also
torchvision's), below the data folder under one of a few usual names, or be the data folder
itself. The addresses and checksums are torchvision's; a test holds them to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sparsebench.bench.tasks import originals
from sparsebench.bench.tasks.download import Remote
from sparsebench.models.images.layout import Layout


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
class KnownSet:
    """A data set of image files.

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


SETS: dict[str, KnownSet] = {
    "aircraft": KnownSet(
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
    "birdsnap": KnownSet(("birdsnap", "birds"), (TRAIN_TEST,)),
    "caltech101": KnownSet(
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
    "caltech256": KnownSet(
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
    "cars": KnownSet(
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
    "dtd": KnownSet(
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
    "flowers102": KnownSet(
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
    "food101": KnownSet(
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
    "pets": KnownSet(
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
    "sun397": KnownSet(
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
    for place in places(name, root):
        for form in SETS[name].forms:
            if form.fits(place):
                return place, form
    return None


def places(name: str, root: Path) -> Iterator[Path]:
    """Folders in which a data set is looked for, in this order."""
    for folder in SETS[name].folders:
        yield root / folder
    yield root
