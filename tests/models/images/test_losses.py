"""Images that are dropped are counted, and a class that loses most of them is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsebench.bench.tasks import open_task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images import open_images
from sparsebench.models.images.labelled import LabelledImages, ReadOptions
from sparsebench.models.images.losses import Losses, others_said
from tests.bench.tasks.samples import encoded, image_files, sample_image, write_folder, write_tar

HEIC = b"\0\0\0\x18ftypheic" + bytes(20)


def cats(kept: int, left_out: dict[str, bytes]) -> dict[str, bytes]:
    """Cats and dogs of which further cats to train on are files of other names."""
    files = image_files(("cat", "dog"), train=kept, test=3)
    return {**files, **{f"train/cat/{name}": data for name, data in left_out.items()}}


def opened(
    tmp_path: Path,
    files: dict[str, bytes],
    form: str,
    *,
    allow_image_loss: bool = False,
    strict: bool = False,
) -> LabelledImages:
    options = ReadOptions(tmp_path / "cache", strict=strict, allow_image_loss=allow_image_loss)
    if form == "tar":
        return open_images(write_tar(tmp_path / "pets.tar", files), options)
    return open_images(write_folder(tmp_path / "pets", files), options)


MANY = {
    "a.jp2": b"unread",
    "b.JP2": b"unread",
    "c.heic": b"unread",
    "d.jpg?w=200": encoded(sample_image(1)),
    "plain": encoded(sample_image(2)),
    "e.image": HEIC,
    "broken.png": b"not a png",
}
COUNTED = {
    ".jp2": 2,
    ".heic": 1,
    ".jpg?…": 1,
    "no ending": 1,
    ".image": 1,
    ".png that cannot be decoded": 1,
}


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_what_is_left_out_is_counted_by_class_and_ending(tmp_path: Path, form: str) -> None:
    images = opened(tmp_path, cats(9, MANY), form)
    assert images.losses.to_json() == {"train/cat": {"kept": 9, "left_out": COUNTED}}
    (line,) = images.losses.lines()
    assert line.startswith("train/cat keeps 9 of 16 images (left out: 1 .heic, ")
    assert Losses.of_json(images.losses.to_json()) == images.losses


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_class_that_loses_most_of_its_images_needs_consent(tmp_path: Path, form: str) -> None:
    files = cats(3, {f"{n}.jp2": b"x" for n in range(17)})
    with pytest.raises(SparsebenchError, match=r"train/cat keeps 3 of 20.*17 \.jp2") as caught:
        opened(tmp_path, files, form)
    assert "--allow-image-loss" in caught.value.fix
    images = opened(tmp_path, files, form, allow_image_loss=True)
    assert len(images.train) == 6
    with pytest.raises(SparsebenchError, match="left out"):
        opened(tmp_path, files, form, allow_image_loss=True, strict=True)


def test_half_is_not_most(tmp_path: Path) -> None:
    images = opened(tmp_path, cats(3, {f"{n}.jp2": b"x" for n in range(3)}), "folder")
    assert images.losses.lost == 3


def test_annotations_beside_the_images_are_no_loss(tmp_path: Path) -> None:
    beside = {f"{n}.{e}": b"<x/>" for n in range(9) for e in ("xml", "txt", "json", "unknown")}
    beside |= {"notes": b"text without an ending", "Thumbs.db": b"x"}
    images = opened(tmp_path, cats(2, beside), "folder")
    assert images.losses.lost == 0
    assert images.ignored == len(beside)
    assert images.others == {".xml": 9, ".txt": 9, ".json": 9, ".unknown": 9, "no ending": 1,
                             ".db": 1}  # fmt: skip
    said = others_said(images.others)
    assert "9 .txt" in said and said.endswith("beside the images are no images")


def test_images_under_the_ending_of_a_text_are_counted(tmp_path: Path) -> None:
    """Seen: 17 of 20 cats called .jpg.txt, and no word."""
    images = opened(
        tmp_path, cats(3, {f"{n}.jpg.txt": encoded(sample_image(n)) for n in range(2)}), "folder"
    )
    assert images.losses.classes["train/cat"].left_out == {".txt": 2}


def test_a_class_without_any_readable_image_says_what_is_there(tmp_path: Path) -> None:
    files = {n: d for n, d in cats(3, {}).items() if not n.startswith("train/cat")}
    files |= {f"train/cat/{n}.heic": HEIC for n in range(4)}
    with pytest.raises(SparsebenchError, match=r"train/cat/ \(4 \.heic\)"):
        opened(tmp_path, files, "folder")


def test_a_task_has_the_same_losses(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", cats(9, MANY))
    assert open_task(str(root), cache=tmp_path / "c").losses.to_json()["train/cat"]["kept"] == 9
