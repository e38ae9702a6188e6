from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparsebench.models.images import open_images
from sparsebench.models.images.labelled import ReadOptions
from sparsebench.models.sparsify.data import (
    DecodedImages,
    augment,
    decode_split,
    epoch_batches,
    normalise,
)
from tests.models.sparsify.tiny import SIZE, random_images, write_folder


def decoded(root: Path, cache: Path, split: str = "train") -> DecodedImages:
    reading = ReadOptions(cache)
    return decode_split(open_images(root, reading), split, SIZE, reading)


def test_decoded_images_are_the_files_and_are_decoded_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    first = decoded(root, tmp_path / "cache")
    wanted = random_images(24, seed=1)
    assert first.classes == ("bright", "dark")  # sorted
    bright = wanted.images[wanted.labels == 1]
    assert np.array_equal(first.images[first.labels == 0], bright)
    (kept,) = (tmp_path / "cache" / "decoded").iterdir()
    written = kept.stat().st_mtime_ns
    decoded(root, tmp_path / "cache")
    assert kept.stat().st_mtime_ns == written


def test_a_changed_folder_is_decoded_anew(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data")
    assert len(decoded(root, tmp_path / "cache").labels) == 24
    Image.new("RGB", (20, 10), "red").save(root / "train" / "dark" / "more.png")
    examples = decoded(root, tmp_path / "cache")
    assert len(examples.labels) == 25
    assert examples.images.shape == (25, 3, SIZE, SIZE)
    red = examples.images[-1]
    assert (int(red[0].min()), int(red[1:].max())) == (255, 0)


def test_decoded_images_are_kept_where_the_suite_keeps_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    decode_split(open_images(write_folder(tmp_path / "data"), ReadOptions()), "train", SIZE)
    assert list((tmp_path / "mine").rglob("*.npy"))
    assert not (tmp_path / "other").exists()


def test_an_epoch_has_every_image_once_in_an_order_of_its_own() -> None:
    examples = random_images(48)
    seen = [images for images, _ in epoch_batches(examples, 8, seed=1, epoch=0)]
    assert len(seen) == 6
    whole = torch.cat(seen).flatten(1).numpy()
    assert np.array_equal(
        np.unique(whole, axis=0), np.unique(examples.images.reshape(48, -1), axis=0)
    )
    other = next(iter(epoch_batches(examples, 8, seed=1, epoch=1)))[0]
    assert not torch.equal(seen[0], other)
    tail = [images for images, _ in epoch_batches(examples, 8, seed=1, epoch=0, first=4)]
    assert torch.equal(torch.cat(tail), torch.cat(seen[4:]))


def test_augmentation_of_the_whole_area_only_mirrors() -> None:
    # Ratio still varies, so images that are constant along columns stay what they are.
    rows = torch.arange(SIZE, dtype=torch.uint8).view(1, 1, 1, SIZE) * 30
    images = rows.expand(64, 3, SIZE, SIZE).contiguous()
    out = augment(images, torch.Generator().manual_seed(0), (1.0, 1.0))
    plain = normalise(images)
    rising = out[:, 0, :, -1] > out[:, 0, :, 0]
    assert 10 < int(rising[:, 0].sum()) < 54  # about half are mirrored
    assert float(out.min()) >= float(plain.min()) - 1e-5
    assert float(out.max()) <= float(plain.max()) + 1e-5


def test_augmentation_depends_on_the_generator_alone() -> None:
    images = torch.from_numpy(random_images(16).images)
    one = augment(images, torch.Generator().manual_seed(7))
    torch.manual_seed(123)
    two = augment(images, torch.Generator().manual_seed(7))
    three = augment(images, torch.Generator().manual_seed(8))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_normalise_is_torchvisions() -> None:
    from torchvision.transforms.functional import normalize

    images = torch.from_numpy(random_images(4).images)
    wanted = normalize(images.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert torch.allclose(normalise(images), wanted, atol=1e-5)
