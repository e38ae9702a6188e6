"""The suite's average precision against one written down anew, and against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsebench.bench.heads.detection.decode import Found
from sparsebench.bench.heads.detection.metric import mean_average_precisions
from sparsebench.bench.heads.detection.score import judged
from sparsebench.bench.records import Detections
from sparsebench.bench.statistics.average_precision import mean_average_precision
from sparsebench.bench.statistics.image_bootstrap import bootstrapped_interval
from sparsebench.bench.tasks.detection.boxes import Boxes, count_boxes

pytest.importorskip("faster_coco_eval")
CLASSES = 3


def world(seed: int, images: int = 30, crowds: bool = False) -> tuple[list[Found], list[Boxes]]:
    """Truths, and detections that are near them, doubled, of another class, or nowhere."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(images):
        count = int(rng.integers(0, 6))
        low = rng.uniform(0, 70, (count, 2))
        corners = np.concatenate([low, low + rng.uniform(8, 30, (count, 2))], 1)
        labels = rng.integers(0, CLASSES, count)
        crowd = rng.random(count) < 0.2 if crowds else np.zeros(count, bool)
        truths.append(Boxes(100, 100, corners.astype(np.float32), labels, crowd))
        near = corners[rng.random(count) < 0.8]
        twice = near[rng.random(len(near)) < 0.3]
        other = rng.uniform(0, 60, (int(rng.integers(0, 4)), 2))
        nowhere = np.concatenate([other, other + rng.uniform(5, 40, other.shape)], 1)
        boxes = np.concatenate([near, twice, nowhere]) + rng.normal(
            0, 2, (len(near) + len(twice) + len(nowhere), 4)
        )
        boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:], boxes[:, :2] + 1)], 1)
        kinds = rng.integers(0, CLASSES, len(boxes))
        kinds[: len(near)] = np.where(
            rng.random(len(near)) < 0.9, labels[: len(near)], kinds[: len(near)]
        )
        found.append(
            Found(
                torch.from_numpy(boxes.astype(np.float32)),
                torch.from_numpy(rng.random(len(boxes)).astype(np.float32)),
                torch.from_numpy(kinds),
            )
        )
    return found, truths


def counted(truths: list[Boxes]) -> np.ndarray:
    return np.stack([count_boxes([one], CLASSES) for one in truths])


def slow_average_precision(found: list[Found], truths: list[Boxes], threshold: float) -> float:
    """COCO's definition, with loops and nothing shared; no crowds."""
    each = []
    for label in range(CLASSES):
        total = sum(int((one.labels == label).sum()) for one in truths)
        if not total:
            continue
        rows = sorted(
            (
                (float(score), image, box.numpy())
                for image, one in enumerate(found)
                for score, box, kind in zip(one.scores, one.boxes, one.labels, strict=True)
                if kind == label
            ),
            key=lambda row: -row[0],
        )
        taken: set[tuple[int, int]] = set()
        hits, curve = 0, []
        for rank, (_, image, box) in enumerate(rows, 1):
            best, place = threshold, None
            for number, truth in enumerate(truths[image].corners):
                if truths[image].labels[number] != label or (image, number) in taken:
                    continue
                w = min(box[2], truth[2]) - max(box[0], truth[0])
                h = min(box[3], truth[3]) - max(box[1], truth[1])
                both = max(w, 0) * max(h, 0)
                area = (box[2] - box[0]) * (box[3] - box[1])
                either = area + (truth[2] - truth[0]) * (truth[3] - truth[1]) - both
                if both / either >= best:
                    best, place = both / either, number
            if place is not None:
                taken.add((image, place))
                hits += 1
            curve.append((hits / total, hits / rank))
        recalls = np.linspace(0, 1, 101)
        each.append(
            np.mean([max((p for r, p in curve if r >= want), default=0) for want in recalls])
        )
    return float(np.mean(each))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_the_definition_says(seed: int) -> None:
    found, truths = world(seed)
    ours = judged(found, truths)
    for position, threshold in ((0, 0.5), (5, 0.75)):
        once = mean_average_precision(ours, counted(truths), (position,), np.ones((1, 30)))
        assert once[0] == pytest.approx(slow_average_precision(found, truths, threshold), abs=1e-9)


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_torchmetrics_says(seed: int, crowds: bool) -> None:
    found, truths = world(seed, crowds=crowds)
    theirs = mean_average_precisions(found, truths)
    ones, ours = np.ones((1, 30)), judged(found, truths)
    for metric, thresholds in (("map50", (0,)), ("map50_95", tuple(range(10)))):
        once = mean_average_precision(ours, counted(truths), thresholds, ones)
        assert once[0] == pytest.approx(theirs.of(metric), abs=1e-6)


def test_a_weight_of_two_is_the_image_twice_and_none_is_without_it() -> None:
    found, truths = world(5, images=12)
    weights = np.array([0, 1, 2, 1, 0, 1, 3, 1, 1, 1, 0, 2])
    chosen = np.repeat(np.arange(12), weights)
    again = [found[i] for i in chosen], [truths[i] for i in chosen]
    told = mean_average_precision(
        judged(found, truths), counted(truths), (0,), weights[None].astype(float)
    )
    ones = np.ones((1, len(chosen)))
    assert told[0] == pytest.approx(
        mean_average_precision(judged(*again), counted(again[1]), (0,), ones)[0], abs=1e-3
    )


def outcomes(*seeds: int, images: int = 30) -> Detections:
    truths = world(0, images)[1]
    shaken = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        found = []
        for one in world(0, images)[0]:
            moved = one.boxes + torch.from_numpy(rng.normal(0, 1, one.boxes.shape)).float()
            found.append(Found(moved, one.scores, one.labels))
        shaken.append(judged(found, truths))
    return Detections(tuple(seeds), tuple(shaken), counted(truths))


def test_outcomes_come_back_from_their_file() -> None:
    from sparsebench.bench.records import Outcomes

    kept = outcomes(1, 2)
    back = Outcomes.from_bytes(kept.to_bytes())
    assert isinstance(back, Detections)
    assert back.is_equal(kept)
    ones = np.ones((1, 30))
    assert np.array_equal(back.scores("map50_95", ones), kept.scores("map50_95", ones))


def test_a_network_against_itself_has_not_changed() -> None:
    kept = outcomes(1, 2, 3)
    change = kept.change_from(outcomes(1, 2, 3), "map50")
    assert change is not None
    assert (change.mid, change.low, change.high) == (0, 0, 0)


def test_a_change_is_paired_and_so_narrower_than_two_scores() -> None:
    kept, other = outcomes(1, 2, 3), outcomes(4, 5, 6)
    other = Detections(kept.seeds, other.judged, other.truths)
    change, alone = kept.change_from(other, "map50"), kept.interval("map50")
    assert change is not None
    assert change.low < change.mid < change.high
    assert change.high - change.low < alone.high - alone.low


def test_other_test_images_are_not_compared() -> None:
    assert outcomes(1, 2).change_from(outcomes(1, 2, images=20), "map50") is None


def test_of_a_mean_over_images_it_is_the_interval_of_a_mean() -> None:
    """A score that *is* a mean has a closed form: the bootstrap must find that one."""
    values = np.random.default_rng(0).normal(0.5, 0.2, (3, 400))
    values[:] = values[:1]  # seeds agree: only images are drawn

    def score(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ values.T / weights.sum(1, keepdims=True))

    found = bootstrapped_interval(score, 400)
    half = 1.966 * values[0].std(ddof=1) / 20
    assert found.mid == pytest.approx(values[0].mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_one_seed_has_no_interval() -> None:
    assert outcomes(1).interval("map50").ci95 is None
