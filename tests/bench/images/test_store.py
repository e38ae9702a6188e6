"""Prepared images are found again by content, and made again when damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import PreparedStore, centred_batches
from sparsebench.bench.images.decode import decoded_batches
from sparsebench.bench.tasks import open_task
from sparsebench.models.cards import Preprocessing

CARD = Preprocessing(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def stages(store: PreparedStore, folder: Path, card: Preprocessing = CARD) -> set[str]:
    clock = StageClock()
    found = store.get_or_decode(open_task(str(folder)), "test", card, clock=clock)
    clock.stop()
    assert len(found) == 12
    return set(clock.seconds) - {"other"}


def test_the_second_time_nothing_is_decoded(images: Path, tmp_path: Path) -> None:
    store = PreparedStore(tmp_path)
    assert "decode" in stages(store, images)
    assert stages(store, images) == {"load"}
    # Another crop of the same resized images shares them; another short side does not.
    assert stages(store, images, Preprocessing(12, 20, "bilinear", CARD.mean, CARD.std)) == {"load"}
    assert "decode" in stages(store, images, Preprocessing(16, 22, "bilinear", (0,) * 3, (1,) * 3))


@pytest.mark.parametrize("damage", ["truncated", "altered", "no images at all"])
def test_a_damaged_file_is_noticed_and_made_again(
    images: Path, tmp_path: Path, damage: str
) -> None:
    store = PreparedStore(tmp_path)
    stages(store, images)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-5]
    elif damage == "altered":
        content[-5] ^= 1
    else:
        content = bytearray(b"no images at all")
    path.write_bytes(content)
    assert "decode" in stages(store, images)
    assert stages(store, images) == {"load"}


def test_batches_from_the_store_in_buffers_are_those_from_the_files(
    images: Path, tmp_path: Path
) -> None:
    task = open_task(str(images))
    store = PreparedStore(tmp_path)
    for _ in range(2):  # decoded, then mapped
        source = store.get_or_decode(task, "train", CARD)
        buffers = [np.empty((5, 3, 16, 16), np.float32) for _ in range(3)]
        theirs = decoded_batches(task, "train", CARD, 5)
        for (a, x), (b, y) in zip(
            centred_batches(source, CARD, 5, workers=2, into=buffers), theirs, strict=True
        ):
            assert np.array_equal(a, b) and np.array_equal(x, y)
