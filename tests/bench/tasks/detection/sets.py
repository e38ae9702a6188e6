"""Small sets of boxes in every format: dark and light squares on grey, where they are known."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("dark", "light")
SIDES = ("train", "test")


@dataclass(frozen=True)
class Shown:
    """One image: pixels, and boxes as (class, x, y, width, height) in pixels."""

    pixels: np.ndarray
    boxes: tuple[tuple[int, int, int, int, int], ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


def shown(count: int, seed: int, width: int = 64, height: int = 48) -> list[Shown]:
    """Images with two squares each, one of each class, in the left and the right half."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        pixels = np.full((height, width, 3), 128, np.uint8)
        boxes = []
        for label, half in enumerate(rng.permutation(2)):
            side = int(rng.integers(10, 20))
            x = int(half) * width // 2 + int(rng.integers(0, width // 2 - side))
            y = int(rng.integers(0, height - side))
            pixels[y : y + side, x : x + side] = (20, 230)[label]
            boxes.append((label, x, y, side, side))
        made.append(Shown(pixels, tuple(boxes)))
    return made


def images_of(root: Path, folder: str, some: list[Shown]) -> list[str]:
    """Write PNGs ``000.png`` … below a folder; their names."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    names = []
    for number, one in enumerate(some):
        names.append(f"{number:03}.png")
        Image.fromarray(one.pixels).save(root / folder / names[-1])
    return names


def coco_of(
    names: list[str], some: list[Shown], classes: tuple[str, ...] = CLASSES
) -> dict[str, Any]:
    """COCO's JSON of a side; category numbers begin at 7, so that positions are no numbers."""
    return {
        "categories": [{"id": 7 + i, "name": name} for i, name in enumerate(CLASSES)],
        "images": [
            {"id": 100 + i, "file_name": name, "width": one.size[0], "height": one.size[1]}
            for i, (name, one) in enumerate(zip(names, some, strict=True))
        ],
        "annotations": [
            {"id": 1000 * i + j, "image_id": 100 + i, "category_id": 7 + label,
             "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
            for i, one in enumerate(some)
            for j, (label, *box) in enumerate(one.boxes)
        ],
    }  # fmt: skip


def write_coco(root: Path, train: int = 8, test: int = 4) -> Path:
    """``train.json`` beside ``train/``."""
    for seed, (side, count) in enumerate(zip(SIDES, (train, test), strict=True)):
        some = shown(count, seed)
        names = images_of(root, side, some)
        (root / f"{side}.json").write_text(json.dumps(coco_of(names, some)))
    return root


def voc_xml(one: Shown, name: str) -> str:
    """Pascal VOC's XML: pixels counted from 1, the last one inside."""
    objects = "".join(
        f"<object><name>{CLASSES[label]}</name><difficult>0</difficult><bndbox>"
        f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
        "</bndbox></object>"
        for label, x, y, w, h in one.boxes
    )
    width, height = one.size
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


def write_voc(root: Path, train: int = 8, test: int = 4) -> Path:
    """``Annotations/``, ``JPEGImages/`` and ``ImageSets/Main/``."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for seed, (side, count) in enumerate(zip(SIDES, (train, test), strict=True)):
        some = shown(count, seed)
        stems = []
        (root / "JPEGImages").mkdir(exist_ok=True)
        for number, one in enumerate(some):
            stem = f"{side}_{number:03}"
            stems.append(stem)
            Image.fromarray(one.pixels).save(root / "JPEGImages" / f"{stem}.png")
            (root / "Annotations" / f"{stem}.xml").write_text(voc_xml(one, f"{stem}.png"))
        (root / "ImageSets" / "Main" / f"{side}.txt").write_text("\n".join(stems))
    return root


def write_yolo(root: Path, train: int = 8, test: int = 4) -> Path:
    """``images/SIDE/``, ``labels/SIDE/`` and ``data.yaml``; the test side is called val."""
    for seed, (side, count) in enumerate(zip(("train", "val"), (train, test), strict=True)):
        some = shown(count, seed)
        names = images_of(root, f"images/{side}", some)
        (root / "labels" / side).mkdir(parents=True)
        for name, one in zip(names, some, strict=True):
            width, height = one.size
            lines = [
                f"{label} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
                f"{w / width:.6f} {h / height:.6f}"
                for label, x, y, w, h in one.boxes
            ]
            (root / "labels" / side / f"{name[:-4]}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [dark, light]\n")
    return root


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


def packed(root: Path, to: Path) -> Path:
    """A folder as a tar with one wrapping folder."""
    with tarfile.open(to, "w") as tar:
        tar.add(root, arcname="wrapped")
    return to
