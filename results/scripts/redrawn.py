"""Mean average precision and its interval, worked out again from a run's files with NumPy alone.

The second half of ``recompute.py``, for boxes: with none of the suite's code. A file of outcomes
says of each detection on which test image it is, its class, its score and at which of COCO's ten
IoUs it is right or to be ignored, and of each image how many boxes of each class it has. Images
are redrawn by repeating their detections, one draw after the other; the suite weights them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

Ends = tuple[float, float]
DRAWS = 400
IOUS = {"map50": [0], "map50_95": list(range(10))}
RECALLS = np.arange(101) / 100


def score_and_change(
    run: Path, sparse: Any, dense: Any
) -> tuple[dict[str, tuple[float, Ends | None]], bool]:
    """``sparse``, ``dense`` and ``change`` -> point and interval, points of the metric.

    Args:
        run: its folder.
        sparse: a record's accuracy.
        dense: that of its baseline.

    Returns:
        The numbers, and whether both sides' files are there.
    """
    metric = sparse["metric"]
    one, other = _detections(run, sparse), _detections(run, dense)
    if one is None or other is None:
        return {}, False
    (truths, ours), (other_truths, theirs) = one, other
    assert np.array_equal(truths, other_truths)
    images = len(truths)
    generator = np.random.default_rng(images)
    draws = generator.multinomial(images, np.full(images, 1 / images), size=DRAWS)
    whole = np.concatenate([np.ones((1, images), np.int64), draws])
    scores = [
        {
            seed: 100 * np.array([_map(found, truths, often, IOUS[metric]) for often in whole])
            for seed, found in side.items()
        }
        for side in (ours, theirs)
    ]
    common = [seed for seed in sparse["seeds"] if seed in scores[0] and seed in scores[1]]
    return {
        "sparse": _interval(np.stack([scores[0][s] for s in sparse["seeds"]]), images, (0, 100)),
        "dense": _interval(np.stack([scores[1][s] for s in dense["seeds"]]), images, (0, 100)),
        "change": _interval(np.stack([scores[0][s] - scores[1][s] for s in common]), images),
    }, True


def _detections(run: Path, accuracy: Any) -> tuple[np.ndarray, dict[int, Any]] | None:
    """Boxes of each class on each image, and of each seed its detections, the surest first."""
    found: dict[int, Any] = {}
    truths = None
    for one in accuracy.get("correct") or ():
        with np.load(run / one["file"]) as file:
            truths = file["truths"]
            for place, seed in enumerate(file["seeds"].tolist()):
                order = np.argsort(-file[f"score_{place}"].astype(float), kind="stable")
                names = ("image", "label", "right", "ignored")
                columns = {name: file[f"{name}_{place}"][order] for name in names}
                found.setdefault(seed, columns)
    return None if truths is None else (truths, found)


def _map(found: Any, truths: np.ndarray, often: np.ndarray, ious: list[int]) -> float:
    """COCO's mean average precision of images that each appear so often, 0-1."""
    values = []
    for label in range(truths.shape[1]):
        total = int((truths[:, label] * often).sum())
        if not total:
            continue
        mine = found["label"] == label
        repeats = often[found["image"][mine]]
        right_bits = np.repeat(found["right"][mine], repeats)
        out_bits = np.repeat(found["ignored"][mine], repeats)
        for iou in ious:
            right, out = (right_bits >> iou) & 1 == 1, (out_bits >> iou) & 1 == 1
            values.append(_average_precision(right[~out | right], total))
    return float(np.mean(values)) if values else 0.0


def _average_precision(right: np.ndarray, total: int) -> float:
    """The mean over 101 recalls of the best precision at that recall or a larger one."""
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(hits / total, RECALLS - 1e-12)
    return float(np.append(best, 0.0)[reached].mean())


def _interval(
    scores: np.ndarray, images: int, bounds: Ends = (-math.inf, math.inf)
) -> tuple[float, Ends | None]:
    """Point and interval over images and seeds of scores ``[seeds, 1 + draws]``, points.

    The variance over draws of the mean over seeds, less what the seeds respond to the draw
    differently, which is in the variance over seeds already; half of it by the mean of Cochran's
    and Welch's square.
    """
    own, drawn = scores[:, 0], scores[:, 1:]
    count, middle = len(own), float(own.mean())
    if count < 2:
        return middle, None
    apart = (drawn - drawn.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).mean() / count
    of_images = max(drawn.mean(axis=0).var(ddof=1) - apart, 0.0)
    of_seeds = own.var(ddof=1) / count
    total = of_images + of_seeds
    half = 0.0
    if total:
        degrees = (images - 1, count - 1)
        cochran = (stats.t.ppf(0.975, degrees) ** 2 * (of_images, of_seeds)).sum()
        freedom = total**2 / (of_images**2 / degrees[0] + of_seeds**2 / degrees[1])
        half = math.sqrt((cochran + stats.t.ppf(0.975, freedom) ** 2 * total) / 2)
    return middle, (max(bounds[0], middle - half), min(bounds[1], middle + half))
