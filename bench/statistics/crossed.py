"""Interval of a mean over test images and training seeds at once: two crossed random effects.

Every value ``d[s, i]`` belongs to one seed and one image: right or wrong (1 or 0), or the
difference of two networks on it (-1, 0, 1). Both the images and the seeds are draws, and

    d[s, i] = mean + image[i] + seed[s] + rest[s, i],

so that the variance of the grand mean has three parts. With `A` the variance that the spread of
the image means gives, `B` that of the seed means and `E` that of the residuals (each already
divided by its count), ``A + B - E`` estimates it without bias (S. R. Searle, G. Casella,
C. E. McCulloch, Variance Components, 1992, chapter 4). Few seeds say little about `B`, so the
halves are added as in Cochran's approximation (Biometrics 20, 1964), each with its own quantile
of Student's t:

    half**2 = t(n - 1)**2 * A + t(S - 1)**2 * max(B - E, 0).

Where every seed gives the same answers (L-BFGS) only the first part is left.

*Classes.* The mean over classes is a weighted mean, 1 / (classes * images of the class) for each
image; the images of a class are drawn from that class, so spreads are taken inside classes.

*Rare events.* 100 images of which 99 are right say little about their spread. An accuracy
therefore counts two more images as right and two as wrong in its interval (A. Agresti, B. A.
Coull, The American Statistician 52, 1998). The spread of a change rests on the images on which
the two networks differ, and a few of them are few degrees of freedom: twice 2 A**2 over the sum
of the squares of the images' shares of `A`, which is four times their number where all weigh
the same. Without any such image the interval is that of "no event in n": 1 - 0.05**(1/n) on
either side.

Simulated coverage of the 95 % interval of a change (100 to 2,000 images, 3 to 10 seeds,
accuracies 0.5 to 0.985, images of unequal difficulty): 93-97.5 %, and 92-98 % with 100 images of
which two tell the networks apart (tests/bench/statistics/test_crossed.py). The t-interval over
seeds alone covers 58-95 % there, the less the more seeds there are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.statistics.intervals import CONFIDENCE, Interval, t_quantile

Values = NDArray[np.float64]
Classes = NDArray[np.int64]


def crossed_interval(values: Values, classes: Classes | None = None) -> Interval:
    """Mean and 95 % interval over images and seeds of a difference.

    Args:
        values: float64 [seeds, images], -1, 0 or 1.
        classes: class number of each image [images] for a mean over classes; None for a mean
            over images.

    Returns:
        In the unit of `values`; no interval with a single seed or image. `count` is of seeds.

    Raises:
        ValueError: there is no value.
    """
    parts = _Parts.of(values, classes)
    if not np.any(values):
        half = -math.expm1(math.log(1 - CONFIDENCE) / values.shape[1])
        return _interval(parts, 0.0, half)
    return _interval(parts, parts.mean, parts.half(parts.images, parts.telling))


def proportion_interval(right: Values, classes: Classes | None = None) -> Interval:
    """Accuracy and 95 % interval over images and seeds.

    Args:
        right: float64 [seeds, images], 1 where the image was right, else 0.
        classes: as in :func:`crossed_interval`.

    Returns:
        Fractions 0-1; the point is the plain mean, the interval lies around one with two more
        images right and two wrong.
    """
    parts = _Parts.of(right, classes)
    more, count = 4.0, parts.effective
    middle = (count * parts.mean + more / 2) / (count + more)
    # The spread of the four added images, and theirs around the mean of the others.
    squares = parts.images * count**2 + 1.0
    squares += count * more / (count + more) * (parts.mean - 0.5) ** 2
    found = _interval(parts, middle, parts.half(squares / (count + more) ** 2, parts.degrees))
    return Interval(found.mid, max(0.0, found.low), min(1.0, found.high), found.count)


class _Parts:
    """Mean and the parts of its variance: `images` A, `seeds` B, `rest` E.

    `effective` counts images as Kish does, ``1 / sum(weight**2)``; `telling` are the degrees of
    freedom of those that make up A, `degrees` those of all images, `count` is of seeds.
    """

    def __init__(
        self,
        mean: float,
        images: float,
        seeds: float,
        rest: float,
        effective: float,
        telling: float,
        degrees: int,
        count: int,
    ) -> None:
        self.mean, self.images, self.seeds, self.rest = mean, images, seeds, rest
        self.effective, self.telling = effective, telling
        self.degrees, self.count = degrees, count

    @classmethod
    def of(cls, values: Values, classes: Classes | None) -> _Parts:
        seeds, images = values.shape
        if not values.size:
            raise ValueError("an interval needs at least one seed and one image")
        inside = np.zeros(images, np.int64)
        if classes is not None:
            inside = np.unique(classes, return_inverse=True)[1].reshape(-1)
        sizes = np.bincount(inside)
        weights = (1.0 / (len(sizes) * sizes))[inside]
        by_image, by_seed = values.mean(axis=0), values @ weights
        mean = float(by_seed.mean())
        centred = by_image - (np.bincount(inside, by_image) / sizes)[inside]
        residuals = values - by_image
        for row in residuals:
            row -= (np.bincount(inside, row) / sizes)[inside]
        a = _weighted_variance(centred**2, inside, sizes)
        shares = (weights * centred) ** 2
        telling = 4 * float(shares.sum()) ** 2 / max(float((shares**2).sum()), 1e-300)
        b = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else math.inf
        e = 0.0
        if seeds > 1:
            squares = (residuals**2).sum(axis=0) / (seeds - 1)
            e = _weighted_variance(squares, inside, sizes) / seeds
        effective = 1.0 / float((weights**2).sum())
        return cls(mean, a, b, e, effective, telling, images - len(sizes), seeds)

    def half(self, images: float, degrees: float) -> float:
        """Half the interval where the images' part of the variance is `images`."""
        if self.count < 2 or self.degrees <= 0:
            return math.inf
        quantile = 0.5 + CONFIDENCE / 2
        by_image = t_quantile(quantile, min(self.degrees, max(1.0, degrees))) ** 2 * images
        by_seed = t_quantile(quantile, self.count - 1) ** 2 * max(self.seeds - self.rest, 0.0)
        return math.sqrt(by_image + by_seed)


def _weighted_variance(squares: Values, inside: Classes, sizes: Classes) -> float:
    """Variance of the mean over classes from the squared deviations inside each class.

    A class with a single image has the variance of the others: it shows none of its own.
    """
    several = sizes > 1
    if not several.any():
        return math.inf
    sums = np.bincount(inside, squares)
    pooled = float(sums[several].sum() / (sizes[several] - 1).sum())
    own = np.where(several, sums / np.maximum(sizes - 1, 1), pooled)
    return float((own / sizes).sum()) / len(sizes) ** 2


def _interval(parts: _Parts, middle: float, half: float) -> Interval:
    if parts.count < 2:
        half = math.inf
    return Interval(parts.mean, middle - half, middle + half, parts.count)
