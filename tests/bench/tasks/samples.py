"""Small image folders and archives made for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def sample_image(seed: int = 0, width: int = 24, height: int = 20) -> Image.Image:
    """A smooth coloured image, another one for every seed."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def image_files(
    classes: Sequence[str] = ("ash", "oak"),
    *,
    train: int = 4,
    test: int = 3,
    test_name: str = "test",
    kind: str = "JPEG",
) -> dict[str, bytes]:
    """Path -> content of an ImageFolder data set."""
    ending = {"JPEG": "jpg", "PNG": "png"}[kind]
    return {
        f"{side}/{name}/{number:03d}.{ending}": encoded(
            sample_image(1000 * label + 100 * (side == "train") + number), kind
        )
        for side, count in (("train", train), (test_name, test))
        for label, name in enumerate(classes)
        for number in range(count)
    }


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a root, which is returned."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """Write files as members of a tar; `mode` as ``tarfile.open`` takes it."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
