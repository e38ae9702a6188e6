"""The accuracy of networks as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from sparsebench.bench.cli import app
from sparsebench.bench.heads import own_head
from sparsebench.bench.heads.own_head import (
    OwnAccuracy,
    differences,
    evaluate_own_head,
    open_imagenet_val,
    wilson_interval,
)
from sparsebench.bench.tasks import open_task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.generated import generate
from sparsebench.models.sparsify.start import imagenet_rows
from tests.bench.tasks.detection.sets import write_coco

ARCH = "squeezenet1_0"
# The first four of the validation set, with their synsets (ILSVRC2012's ground truth).
IMAGES = {1: "n01751748", 2: "n09193705", 3: "n02105855", 4: "n04263257"}


@pytest.fixture
def val(tmp_path: Path) -> Path:
    folder = tmp_path / "val"
    for number, synset in IMAGES.items():
        (folder / synset).mkdir(parents=True)
        image = Image.new("RGB", (80, 80), (10 * number, 100, 200 - 40 * number))
        image.save(folder / synset / f"ILSVRC2012_val_{number:08d}.JPEG")
    return folder


def test_images_come_in_the_order_of_their_names(val: Path) -> None:
    task = open_imagenet_val(val.parent)
    assert [Path(str(item)).name[-13:-5] for item in task.test.items] == [
        f"{number:08d}" for number in IMAGES
    ]
    assert [task.classes[label] for label in task.test.labels] == list(IMAGES.values())
    assert len(open_imagenet_val(val, limit=2).test) == 2


def test_no_folders_of_classes_is_said(tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match="holds no folders of ImageNet's classes"):
        open_imagenet_val(tmp_path)


def test_all_outputs_compete_and_real_takes_any_right_label(
    val: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = imagenet_rows(list(IMAGES.values()))
    assert rows is not None
    real = own_head._real_labels()
    assert (len(real), sum(not labels for labels in real)) == (50_000, 3_163)
    logits = np.zeros((4, 1000), np.float32)
    logits[0, rows[0]] = 2  # right
    logits[1, [7, rows[1]]] = 3, 2  # second
    logits[2, [0, 1, 2, 3, 4, rows[2]]] = 9, 8, 7, 6, 5, 1  # sixth
    logits[3, real[3][0]] = 2  # right by the reassessed labels at least
    monkeypatch.setattr(own_head, "_logits", lambda backbone, images: logits[: len(images)])
    found = evaluate_own_head(f"{ARCH}/dense@generated", open_imagenet_val(val), batch_size=4)
    assert found.top1[:3].tolist() == [True, False, False]
    assert found.top5 is not None and found.top5[:3].tolist() == [True, True, False]
    firsts = [rows[0], 7, 0, real[3][0]]
    expected = [first in labels for first, labels in zip(firsts, real, strict=False) if labels]
    assert found.real is not None and found.real.tolist() == expected


def test_a_task_of_boxes_is_refused(tmp_path: Path) -> None:
    boxes = open_task(str(write_coco(tmp_path / "boxes")))
    with pytest.raises(SparsebenchError, match="is a detection task"):
        evaluate_own_head(f"{ARCH}/dense@generated", boxes, own_head=True)
    assert not own_head.knows_classes("resnet18/dense", boxes)


def test_intervals_are_the_published_ones() -> None:
    # Newcombe, Statistics in Medicine 1998, table I, method 3: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263).ci95 == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20).ci95 == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_the_difference_is_taken_image_by_image() -> None:
    def of(right: list[int]) -> OwnAccuracy:
        return OwnAccuracy("x", np.array(right, bool), None, None, (None, None))

    half = [1, 0] * 200
    same = differences(of(half), of(half))["top-1"]
    other = differences(of(half), of([0, 1] * 200))["top-1"]
    # Both differ by nothing on average; only where every image agrees is that certain.
    assert same.mid == other.mid == 0
    assert same.high - same.low < 0.02 < other.high - other.low


def test_classes_must_be_those_of_the_network(tmp_path: Path, monkeypatch: Any) -> None:
    for side in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "animals" / side / name).mkdir(parents=True)
            for i in range(2):
                image = Image.new("RGB", (64, 64), (100 * i, 50, len(name) * 20 + len(side)))
                image.save(tmp_path / "animals" / side / name / f"{i}.png")
    torch.save(generate(ARCH, "dense", 0.0, 2).state_dict(), tmp_path / "two.pth")
    monkeypatch.chdir(tmp_path)
    call = ["evaluate", "two.pth", "--task", "animals", "--size", "64", "--json"]
    refused = CliRunner().invoke(app, call)
    assert isinstance(refused.exception, SparsebenchError)
    assert "--own-head" in str(refused.exception)
    done = CliRunner().invoke(app, [*call, "--own-head", "--dense", "two.pth"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["images"] == 4 and said["networks"][0]["backbone"] == f"{ARCH}/dense@two.pth"
    assert set(said["networks"][0]) >= {"top-1", "published_top1"}
    assert "top-5" not in said["networks"][0]
