"""The paper's data sets in miniature: three classes, every file where the real one is.

`PAPER` lays them out as the paper's published code reads them, `OWNERS` as their owners and
torchvision do. Both hold the same images in the same split.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.tasks.known_tasks import FACTS
from sparsebench.bench.tasks.presence import ON_DISK
from tests.bench.tasks.samples import encoded, sample_image

DecodedImages = dict[str, dict[str, list[str]]]
"""Side -> class -> file names."""

CLASSES = {
    "aircraft": ("707-320", "A300B4", "DHC-8-100"),
    "birdsnap": ("Acadian_Flycatcher", "American_Crow", "Zone_tailed_Hawk"),
    "caltech101": ("Faces", "accordion", "yin_yang"),
    "caltech256": ("001.ak47", "056.dog", "257.clutter"),
    "cars": ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo 2012"),
    "dtd": ("banded", "blotchy", "zigzagged"),
    "flowers102": ("001", "002", "102"),
    "food101": ("apple_pie", "baklava", "waffles"),
    "pets": ("Abyssinian", "american_bulldog", "yorkshire_terrier"),
    "sun397": ("abbey", "apse/indoor", "atrium/public"),
}
FIRST = {"caltech101": 30, "caltech256": 60}
_BYTES = [encoded(sample_image(seed, 12, 10)) for seed in range(6)]


def split_of(name: str) -> DecodedImages:
    """The split of a miniature: by default 3 training and 2 test images a class."""
    train = FIRST.get(name, 3)
    sides: DecodedImages = {"train": {}, "test": {}}
    number = 0
    for label, one in enumerate(CLASSES[name]):
        for place in range(train + 2):
            number += 1
            file = {
                "aircraft": f"{1000000 + number}.jpg",
                "birdsnap": f"{number}.jpg",
                "caltech101": f"image_{place + 1:04d}.jpg",
                "caltech256": f"{label + 1:03d}_{place + 1:04d}.jpg",
                "cars": f"{number:05d}.jpg",
                "dtd": f"{one}_{number:04d}.jpg",
                "flowers102": f"image_{number:05d}.jpg",
                "food101": f"{2000 + number}.jpg",
                "pets": f"{one}_{number}.jpg",
                "sun397": f"sun_{'a' * 14}{number:02d}.jpg",
            }[name]
            sides["train" if place < train else "test"].setdefault(one, []).append(file)
    return sides


def content(file: str) -> bytes:
    """The same file name has the same image in every layout."""
    return _BYTES[sum(map(ord, file)) % len(_BYTES)]


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def image_folder(name: str, folder: str, train: str = "train", test: str = "test") -> Builder:
    def build(root: Path) -> Path:
        for side, classes in split_of(name).items():
            for one, files in classes.items():
                for file in files:
                    place = {"train": train, "test": test}[side]
                    write(root / folder / place / one.replace("/", "_") / file, content(file))
        return root / folder

    return build


def aircraft(root: Path) -> Path:
    data = root / "fgvc-aircraft-2013b/data"
    for side, classes in split_of("aircraft").items():
        lines = []
        for one, files in classes.items():
            for file in files:
                write(data / "images" / file, content(file))
                lines.append(f"{file.removesuffix('.jpg')} {one}\n")
        write(
            data / f"images_variant_{'trainval' if side == 'train' else side}.txt", "".join(lines)
        )
    write(data / "variants.txt", "\n".join(CLASSES["aircraft"]) + "\n")
    return data.parent


def dtd(root: Path) -> Path:
    """The owners' archive: no ``classes.txt``."""
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for side, classes in split_of("dtd").items():
        for one, files in classes.items():
            for number, file in enumerate(files):
                write(root / "images" / one / file, content(file))
                lines["val" if side == "train" and number == 2 else side].append(f"{one}/{file}\n")
    for side, rows in lines.items():
        write(root / f"labels/{side}1.txt", "".join(rows))
    return root


def dtd_paper(root: Path) -> Path:
    write(root / "dtd/labels/classes.txt", "".join(f"{one}\n" for one in CLASSES["dtd"]))
    return dtd(root / "dtd")


def caltech101(root: Path) -> Path:
    top = root / "caltech101/101_ObjectCategories"
    _class_folders("caltech101", top)
    write(top / "BACKGROUND_Google/image_0001.jpg", content("x"))
    return root / "caltech101"


def caltech256(root: Path) -> Path:
    """With the two stray things that the real archive has."""
    top = root / "caltech256/256_ObjectCategories"
    _class_folders("caltech256", top)
    write(top / "056.dog/greg/vision309/000.jpg", content("x"))
    write(top / "257.clutter/RENAME2", "#!/bin/sh\n")
    return root / "caltech256"


def _class_folders(name: str, top: Path) -> None:
    for classes in split_of(name).values():
        for one, files in classes.items():
            for file in files:
                write(top / one / file, content(file))


def food(root: Path) -> Path:
    for side, classes in split_of("food101").items():
        for one, files in classes.items():
            for file in files:
                write(root / "food-101/images" / one / file, content(file))
        listed = {
            one: [f"{one}/{file.removesuffix('.jpg')}" for file in files]
            for one, files in classes.items()
        }
        write(root / f"food-101/meta/{side}.json", json.dumps(listed))
    return root / "food-101"


def pets(root: Path) -> Path:
    top = root / "oxford-iiit-pet"
    for side, classes in split_of("pets").items():
        lines = []
        for label, files in enumerate(classes.values(), 1):
            for file in files:
                write(top / "images" / file, content(file))
                lines.append(f"{file.removesuffix('.jpg')} {label} 1 1\n")
        name = "trainval" if side == "train" else side
        write(top / f"annotations/{name}.txt", "".join(lines))
    return top


def flowers(root: Path) -> Path:
    from scipy.io import savemat

    top = root / "flowers-102"
    split = split_of("flowers102")
    labels: dict[int, int] = {}
    ids: dict[str, list[int]] = {"trnid": [], "valid": [], "tstid": []}
    for side, classes in split.items():
        for one, files in classes.items():
            for number, file in enumerate(files):
                write(top / "jpg" / file, content(file))
                place = int(file[6:11])
                labels[place] = int(one)
                key = "tstid" if side == "test" else ("valid" if number == 2 else "trnid")
                ids[key].append(place)
    savemat(top / "imagelabels.mat", {"labels": [labels[n] for n in sorted(labels)]})
    savemat(top / "setid.mat", ids)
    return top


def cars(root: Path) -> Path:
    from scipy.io import savemat

    top = root / "stanford_cars"
    names = np.array(CLASSES["cars"], dtype=object)
    write(top / "devkit/README.txt", "")
    savemat(top / "devkit/cars_meta.mat", {"class_names": names})
    for side, classes in split_of("cars").items():
        rows = []
        for label, files in enumerate(classes.values(), 1):
            for file in files:
                write(top / f"cars_{side}" / file, content(file))
                rows.append((1, 1, 9, 9, label, file))
        kinds = [*((f"bbox_{k}", object) for k in ("x1", "y1", "x2", "y2"))]
        table = np.array(rows, dtype=[*kinds, ("class", object), ("fname", object)])
        path = (
            "devkit/cars_train_annos.mat" if side == "train" else "cars_test_annos_withlabels.mat"
        )
        savemat(top / path, {"annotations": table})
    return top


def sun(root: Path) -> Path:
    top = root / "SUN397"
    for side, classes in split_of("sun397").items():
        lines = []
        for one, files in classes.items():
            for file in files:
                write(top / one[0] / one / file, content(file))
                lines.append(f"/{one[0]}/{one}/{file}\n")
        name = {"train": "Training", "test": "Testing"}[side]
        write(top / f"Partitions/{name}_01.txt", "".join(lines))
    write(top / "ClassName.txt", "".join(f"/{one[0]}/{one}\n" for one in CLASSES["sun397"]))
    return top


def cifar(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python batches with 20 + 10 images, whose checksums torchvision is told."""
    import hashlib

    from torchvision.datasets import CIFAR10, CIFAR100

    cls = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    count = 10 if name == "cifar10" else 100
    key = "labels" if name == "cifar10" else "fine_labels"
    top = root / ON_DISK[name]

    def put(file: str, data: object) -> str:
        write(top / file, pickle.dumps(data))
        return hashlib.md5((top / file).read_bytes()).hexdigest()

    def batches(listed: list[list[str]], seed: int) -> list[list[str]]:
        generator = np.random.default_rng(seed)
        return [
            [
                file,
                put(
                    file,
                    {
                        "data": generator.integers(0, 256, (2 * count, 3072), dtype=np.uint8),
                        key: [i % count for i in range(2 * count)],
                    },
                ),
            ]
            for file, _ in listed
        ]

    monkeypatch.setattr(cls, "train_list", batches(cls.train_list, 0))
    monkeypatch.setattr(cls, "test_list", batches(cls.test_list, 1))
    names = [f"thing {i}" for i in range(count)]
    md5 = put(cls.meta["filename"], {cls.meta["key"]: names})
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5})


def fashion(root: Path) -> Path:
    """40 + 20 images in LeCun's format: kind and rank, sizes, bytes."""
    import struct

    raw = root / ON_DISK["fashion-mnist"]
    generator = np.random.default_rng(0)
    for side, count in (("train", 40), ("t10k", 20)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            write(raw / f"{side}-{name}-ubyte", head + values.tobytes())
    return raw


def small_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the facts of the data sets speak of their miniatures."""
    for name in CLASSES:
        sides = split_of(name)
        train, test = (sum(map(len, sides[side].values())) for side in ("train", "test"))
        small = replace(FACTS[name], classes=3, train=train, test=test)
        monkeypatch.setitem(FACTS, name, small)


Builder = Callable[[Path], Path]
PAPER: dict[str, Builder] = {
    "aircraft": aircraft,
    "birdsnap": image_folder("birdsnap", "birdsnap"),
    "caltech101": caltech101,
    "caltech256": caltech256,
    "cars": image_folder("cars", "cars_new"),
    "dtd": dtd_paper,
    "flowers102": image_folder("flowers102", "oxford_flowers_pytorch"),
    "food101": image_folder("food101", "food-101", test="valid"),
    "pets": image_folder("pets", "pets"),
    "sun397": image_folder("sun397", "SUN397/splits_01"),
}
OWNERS: dict[str, Builder] = {
    "cars": cars,
    "dtd": lambda root: dtd(root / "dtd/dtd"),
    "flowers102": flowers,
    "food101": food,
    "pets": pets,
    "sun397": sun,
}
