from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsebench.bench.heads.detection.anchors import anchor_sizes, overlap
from sparsebench.bench.heads.detection.decode import decode
from sparsebench.bench.heads.detection.score import in_images, training_boxes
from sparsebench.bench.heads.detection.targets import answers
from sparsebench.bench.heads.detection.train import DetectionRecipe, TrainingBoxes, train_head
from sparsebench.bench.tasks.detection.boxes import Boxes, BoxSplit
from sparsebench.models.cards import Letterbox, Preprocessing
from sparsebench.models.detection.head import ANCHORS, PREDICTED, DetectionHead, from_rows

SIZE, CHANNELS = 64, (4, 4, 4)


def test_anchors_are_the_sizes_that_there_are() -> None:
    rng = np.random.default_rng(0)
    kinds = np.array([[8, 8], [20, 10], [40, 50]], np.float32)
    sizes = kinds[rng.integers(0, 3, 90)] * rng.uniform(0.97, 1.03, (90, 2)).astype(np.float32)
    assert np.allclose(anchor_sizes(sizes, 3), kinds, rtol=0.05)


def test_fewer_sizes_than_anchors_are_no_trouble() -> None:
    sizes = np.array([[8, 8], [8, 8]], np.float32)
    assert np.allclose(anchor_sizes(sizes, 6), 8)


def test_overlap_is_that_of_boxes_with_one_centre() -> None:
    found = overlap(np.array([[10, 10]], np.float32), np.array([[10.0, 5.0], [20.0, 20.0]]))
    assert found.tolist() == [[0.5, 0.25]]


def test_a_box_is_answered_by_its_cell_and_near_neighbours() -> None:
    anchors = np.full((2, ANCHORS, 2), 1000, np.float32)
    anchors[0, 1] = 10
    box = np.array([[15, 15, 25, 25]], np.float32)  # centre 20, 20: cell 2, 2 of stride 8
    fine, coarse = answers(np.array([3]), box, np.array([1]), anchors, PREDICTED, SIZE)
    cells = set(zip(fine.row.tolist(), fine.column.tolist(), strict=True))
    assert cells == {(2, 2), (1, 2), (3, 2), (2, 1), (2, 3)}
    assert set(fine.anchor.tolist()) == {1}
    assert set(fine.image.tolist()) == {3}
    assert len(coarse.image) == 0


def test_a_box_at_the_edge_is_answered_inside() -> None:
    anchors = np.full((2, ANCHORS, 2), 10, np.float32)
    box = np.array([[54, 54, 64, 64]], np.float32)
    fine, _ = answers(np.array([0]), box, np.array([0]), anchors, PREDICTED, SIZE)
    assert len(fine.row)
    assert int(fine.row.max()) == 7


def raw_with(x: float, y: float) -> list[torch.Tensor]:
    """Predictions of one sure box: class 1, anchor 2, in the cell 4, 3 of the fine map."""
    maps = [torch.full((1, ANCHORS * 7, 8, 8), -20.0), torch.full((1, ANCHORS * 7, 4, 4), -20.0)]
    cell = maps[0].view(1, ANCHORS, 7, 8, 8)[0, 2, :, 4, 3]
    cell[:] = torch.tensor([x, y, 0.0, np.log(2.0), 20.0, -20.0, 20.0])
    return maps


def test_decoding_is_what_the_docstring_says() -> None:
    anchors = torch.full((2, ANCHORS, 2), 10.0)
    (found,) = decode(raw_with(0.0, 0.0), anchors, PREDICTED)
    # Half of a sigmoid is the middle of the cell: 3.5 * 8, 4.5 * 8; 10 wide, twice 10 high.
    assert found.boxes.round(decimals=3).tolist() == [[23, 26, 33, 46]]
    assert found.labels.tolist() == [1]
    assert found.scores[0] == pytest.approx(1)
    (shifted,) = decode(raw_with(np.log(2.0), 0.0), anchors, PREDICTED)  # sigmoid 2/3: half a cell
    assert float(shifted.boxes[0, 0] - found.boxes[0, 0]) == pytest.approx(4, abs=1e-3)


def test_doubles_are_suppressed_within_a_class_alone() -> None:
    maps = raw_with(0.0, 0.0)
    cells = maps[0].view(1, ANCHORS, 7, 8, 8)
    cells[0, 1, :, 4, 3] = cells[0, 2, :, 4, 3]
    assert len(decode(maps, torch.full((2, ANCHORS, 2), 10.0), PREDICTED)[0].boxes) == 1
    cells[0, 1, 5:, 4, 3] = torch.tensor([20.0, -20.0])
    assert len(decode(maps, torch.full((2, ANCHORS, 2), 10.0), PREDICTED)[0].boxes) == 2


def squares(count: int, seed: int) -> tuple[np.ndarray, TrainingBoxes]:
    """Maps on which the class of a square stands in its cells, and the squares."""
    rng = np.random.default_rng(seed)
    rows, corners, labels = [], [], []
    for _ in range(count):
        maps = [np.zeros((4, SIZE // s, SIZE // s), np.float32) for s in (8, 16, 32)]
        low = rng.integers(0, SIZE - 16, 2)
        label = int(rng.integers(0, 2))
        for one, stride in zip(maps, (8, 16, 32), strict=True):
            one[2:] = rng.normal(0, 0.1, one[2:].shape)
            (x0, y0), (x1, y1) = low // stride, (low + 15) // stride
            one[label, y0 : y1 + 1, x0 : x1 + 1] = 1
        rows.append(np.concatenate([one.ravel() for one in maps]))
        corners.append(np.array([[*low, *(low + 16)]], np.float32))
        labels.append(np.array([label]))
    return np.stack(rows), TrainingBoxes(corners, labels)


def trained(seed: int = 0, epochs: int = 12):  # type: ignore[no-untyped-def]
    rows, boxes = squares(64, 0)
    recipe = DetectionRecipe(epochs=epochs)
    return train_head(
        rows, boxes, channels=CHANNELS, size=SIZE, classes=2, seed=seed, recipe=recipe
    )


def test_a_head_learns_where_squares_are() -> None:
    head = trained()
    rows, boxes = squares(20, 1)
    hits = 0
    for one, corners, labels in zip(
        head.find(rows, CHANNELS, SIZE), boxes.corners, boxes.labels, strict=True
    ):
        low = np.maximum(one.boxes[0, :2].numpy(), corners[0, :2])
        high = np.minimum(one.boxes[0, 2:].numpy(), corners[0, 2:])
        both = np.maximum(high - low, 0).prod()
        area = float((one.boxes[0, 2:] - one.boxes[0, :2]).prod())
        hits += both / (256 + area - both) > 0.4 and int(one.labels[0]) == labels[0]
    assert hits >= 16
    assert head.losses[-1] < head.losses[0] * 0.6


def test_a_seed_fixes_a_head() -> None:
    one, again, other = trained(1, 1), trained(1, 1), trained(2, 1)
    weights = [head.head.predict[0].weight for head in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_images_without_boxes_can_be_trained_on() -> None:
    rows, boxes = squares(8, 0)
    nothing = TrainingBoxes(
        [*boxes.corners[:1], *[np.empty((0, 4), np.float32)] * 7],
        [*boxes.labels[:1], *[np.empty(0, np.int64)] * 7],
    )
    recipe = DetectionRecipe(epochs=1, batch_size=4)
    head = train_head(rows, nothing, channels=CHANNELS, size=SIZE, classes=2, seed=0, recipe=recipe)
    assert np.isfinite(head.losses[0])


def test_rows_come_apart_as_they_were_joined() -> None:
    head = DetectionHead(CHANNELS, 2).eval()
    maps = [torch.randn(3, 4, SIZE // s, SIZE // s) for s in (8, 16, 32)]
    rows = torch.cat([one.flatten(1) for one in maps], 1)
    back = from_rows(rows, [tuple(one.shape[1:]) for one in maps])  # type: ignore[misc]
    assert all(torch.equal(a, b) for a, b in zip(maps, back, strict=True))
    assert [tuple(one.shape) for one in head(back)] == [(3, 21, 8, 8), (3, 21, 4, 4)]


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 320), (64, 64), (500, 7)])
def test_boxes_go_into_the_input_and_come_back(width: int, height: int) -> None:
    letterbox = Letterbox.of(Preprocessing(size=SIZE, resize=SIZE))
    corners = np.array([[width * 0.1, height * 0.2, width * 0.7, height]], np.float32)
    one = Boxes(width, height, corners, np.array([0]), np.zeros(1, bool))
    split = BoxSplit(["a"], np.array([0]), (one,))
    inside = training_boxes(split, letterbox).corners[0]
    assert inside.min() >= 0
    assert inside.max() <= SIZE
    from sparsebench.bench.heads.detection.decode import Found

    found = Found(torch.from_numpy(inside), torch.ones(1), torch.zeros(1, dtype=torch.int64))
    assert np.allclose(in_images([found], split, letterbox)[0].boxes, corners, atol=0.01)
