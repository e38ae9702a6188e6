"""Interval of a score over test images and seeds where the score is no mean over images.

Mean average precision is a function of all images together, so the images are redrawn with
replacement, as many as there are, `DRAWS` times (B. Efron, Annals of Statistics 7, 1979), the same
draws for both networks of a change. With ``d[b, s]`` the score (or the change) of draw b and seed
s, the parts of the variance of the mean over seeds are those of
:mod:`sparsebench.bench.statistics.crossed`, found from the draws where that module has closed
forms:

    A = var_b(mean_s d[b, s]),  B = var_s(d[s]) / S,
    E = mean_b var_s(d[b, s] - mean_b d[b, s]) / S,

with ``d[s]`` the score on the images as they are: E, the part in which seeds respond differently to
the draw of images, is in A and in B, and counts once. The interval lies evenly around the score.

Simulated coverage of the 95 % interval (72 and 300 images, 3 and 5 seeds, two classes, images of
unequal difficulty, mAP50 0.6 to 0.76; 100 runs each): 95-98 % of a score, 91-94 % of a change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.statistics.intervals import Interval, half_of_sum

DRAWS = 400
Floats = NDArray[np.float64]


@lru_cache(maxsize=4)
def drawn_weights(images: int) -> Floats:
    """How often each image is in each draw ``[DRAWS, images]``; the same for the same number."""
    chances = np.full(images, 1 / images)
    found = np.random.default_rng(images).multinomial(images, chances, size=DRAWS)
    return found.astype(np.float64)


def bootstrapped_interval(score: Callable[[Floats], Floats], images: int) -> Interval:
    """Mean over seeds and 95 % interval over images and seeds.

    Args:
        score: weights of the images ``[draws, images]`` -> scores ``[draws, seeds]``.
        images: their number.

    Returns:
        In the unit of the score; no interval with a single seed or image. `count` is of seeds.
    """
    own = score(np.ones((1, images)))[0]
    count, mean = len(own), float(own.mean())
    if count < 2 or images < 2:
        return Interval(mean, -math.inf, math.inf, count)
    redrawn = score(drawn_weights(images))
    by_image = float(redrawn.mean(axis=1).var(ddof=1))
    by_seed = float(own.var(ddof=1)) / count
    centred = redrawn - redrawn.mean(axis=0)
    rest = float(centred.var(axis=1, ddof=1).mean()) / count
    half = half_of_sum(max(by_image - rest, 0.0), images - 1, by_seed, count - 1)
    return Interval(mean, mean - half, mean + half, count)
