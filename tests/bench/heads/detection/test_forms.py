"""Boxes of YOLOv3 and YOLOv5 by hand, and heads that learn in their forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparsebench.bench.heads.detection.decode import decode
from sparsebench.bench.heads.detection.targets import answers
from sparsebench.bench.heads.detection.train import DetectionRecipe, train_head
from sparsebench.models.architectures import find_architecture
from sparsebench.models.detection.grids import FORMS, Grids
from tests.bench.heads.detection.test_head import CHANNELS, SIZE, squares

CELL = (1, 2, 3)  # anchor 1 of the map of stride 16, row 2, column 3
RAW = (0.4, -0.7, 0.3, -0.2)


def grids(arch: str) -> Grids:
    found = find_architecture(arch).grids
    assert found is not None
    return found


def raw_of(arch: str) -> list[torch.Tensor]:
    """One sure box of class 2 of four in 96 x 96 pixels."""
    maps = [torch.full((1, 3 * 9, 96 // s, 96 // s), -30.0) for s in (8, 16, 32)]
    anchor, row, column = CELL
    maps[1].view(1, 3, 9, 6, 6)[0, anchor, :, row, column] = torch.tensor(
        [*RAW, 2.0, -30.0, -30.0, 1.0, -30.0]
    )
    return maps


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_yolov3s_boxes_are_those_of_its_paper() -> None:
    """b_x = s(t_x) + c_x, b_w = p_w exp(t_w): arXiv 1804.02767, section 2.1."""
    centre = (3 + sigmoid(RAW[0])) * 16, (2 + sigmoid(RAW[1])) * 16
    sides = 62 * math.exp(RAW[2]), 45 * math.exp(RAW[3])
    check("yolov3", centre, sides)


def test_yolov5s_boxes_are_those_of_its_description() -> None:
    """b_x = 2 s(t_x) - 0.5 + c_x, b_w = p_w (2 s(t_w))^2."""
    centre = (3 + 2 * sigmoid(RAW[0]) - 0.5) * 16, (2 + 2 * sigmoid(RAW[1]) - 0.5) * 16
    sides = 62 * (2 * sigmoid(RAW[2])) ** 2, 45 * (2 * sigmoid(RAW[3])) ** 2
    check("yolov5n", centre, sides)


def check(arch: str, centre: tuple[float, float], sides: tuple[float, float]) -> None:
    own = grids(arch)
    (found,) = decode(raw_of(arch), torch.tensor(own.anchors), own.strides, FORMS[own.form])
    low = [c - s / 2 for c, s in zip(centre, sides, strict=True)]
    high = [c + s / 2 for c, s in zip(centre, sides, strict=True)]
    expected = np.clip([*low, *high], 0, 96)
    assert found.boxes.numpy() == pytest.approx(expected[None], abs=1e-3)
    assert found.labels.tolist() == [2]
    assert found.scores.tolist() == pytest.approx([sigmoid(2.0) * sigmoid(1.0)])


@pytest.mark.parametrize(("form", "most"), [("yolov3", 1), ("yolov5", 3)])
def test_only_cells_that_can_say_a_centre_answer_for_it(form: str, most: int) -> None:
    anchors = np.full((1, 3, 2), 10, np.float32)
    box = np.array([[14, 14, 24, 24]], np.float32)  # centre 19, 19: 2.375 cells of stride 8
    (found,) = answers(np.array([0]), box, np.array([0]), anchors, (8,), SIZE, FORMS[form])
    cells = set(zip(found.row.tolist(), found.column.tolist(), strict=True))
    assert (2, 2) in cells
    assert len(cells) <= most
    for row, column in cells:
        assert (
            max(abs(row + 0.5 - 2.375), abs(column + 0.5 - 2.375)) < 0.5 + FORMS[form].over + 1e-9
        )


@pytest.mark.parametrize("arch", ["yolov3", "yolov5n"])
def test_a_detectors_own_last_layers_learn_where_squares_are(arch: str) -> None:
    rows, boxes = squares(64, 0)
    head = train_head(
        rows,
        boxes,
        channels=CHANNELS,
        size=SIZE,
        classes=2,
        seed=0,
        recipe=DetectionRecipe(epochs=12, lr=3e-2),
        arch=arch,
    )
    assert head.losses[-1] < 0.9 * head.losses[0]
    found = head.find(rows[:16], CHANNELS, SIZE)
    right = sum(
        int(one.labels[0]) == int(labels[0])
        for one, labels in zip(found, boxes.labels[:16], strict=True)
        if len(one.labels)
    )
    assert right >= 14
