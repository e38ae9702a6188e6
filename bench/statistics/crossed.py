"""Interval of a mean over test images and training seeds at once: two crossed random effects.

Every value ``d[s, i]`` belongs to one seed and one image: right or wrong (1 or 0), or the
difference of two networks on it (-1, 0, 1). Both the images and the seeds are draws, and

    d[s, i] = mean + image[i] + seed[s] + rest[s, i],

so that the variance of the grand mean has three parts. With `A` the variance that the spread of
the image means gives, `B` that of the seed means and `E` that of the residuals (each already
divided by its count), ``A + B - E`` estimates it without bias (S. R. Searle, G. Casella,
C. E. McCulloch, Variance Components, 1992, chapter 4). Few seeds say little about `B`, so the
quantiles of both parts are Student's: `half_of_sum` takes (A - E) with n - 1 degrees of freedom and
B with S - 1, by the mean of Cochran's and Welch's approximations.

The residuals are taken from `A`, which many images know well: taken from `B`, which three seeds
hardly know, they make the interval vanish where the seeds agree by chance (91 % seen). Without a
difference between images this is the t-interval of the seeds; where every seed gives the same
answers (L-BFGS) it is that of the images.

*Classes.* The mean over classes is a weighted mean, 1 / (classes * images of the class) for each
image; the images of a class are drawn from that class, so spreads are taken inside classes.

*Rare events.* 100 images of which 99 are right say little about their spread. An accuracy
therefore counts two more images as right and two as wrong in its interval (A. Agresti, B. A.
Coull, The American Statistician 52, 1998), and the seeds' half reaches at least as far as the one
of the same width on the logit scale: near 100 %, seeds that differ lose more than they win. A
change rests on the images on which the two networks
differ. They may be too rare to be seen: half of its interval is at least that of "no event in n",
1 - 0.05**(1/n). Where most of them speak for one side, the end on that side is moved out by
(2 * t**2 + 1) / 6 times their skewness, the cube sum over the square sum of their shares (P. Hall,
The Bootstrap and Edgeworth Expansion, 1992, section 3.6).

*Uneven seeds.* Where the images lost (or won) are few and differ much from seed to seed, the seeds'
half on that side reaches as far as Cox's interval of their mean rate
(`sparsebench.bench.statistics.uneven_seeds`), as far as its skew is not made up for by the other
rate's: skews of independent rates subtract, and grow with the cube of the rate.

Simulated coverage of the 95 % interval of a change (100 to 2,000 images, 3 to 10 seeds, accuracies
0.5 to 0.99995, images of unequal difficulty, seeds that move an accuracy by up to 8 points): where
the two networks are expected to differ on 12 images or more it is 93-97 % for 954 of 983 such
models. Of the others 27 lie above (97.0-98.4 %: seeds with heavy tails, which any t-interval covers
too often, and pairs of which one network is always right) and two below (91.6 and 92.9 %: the same
pairs with three seeds, one of which may fail much). With fewer than 12 it is 93-100 %.
`python -m tests.bench.statistics.coverage` simulates them.
There an interval moves in steps of an image: one that misses a Poisson count by at most 3.5 % on
either side covers over 97 % of the time at most expectations below 3, and at some up to 6.7
(tests/bench/statistics/test_crossed.py). Of an accuracy 92-98 % and, with fewer than 12 wrong
images, up to 100 %. The t-interval over seeds alone covers 58-95 % there, the less the more seeds
there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.statistics.intervals import (
    CONFIDENCE,
    Interval,
    half_of_sum,
    t_quantile,
)
from sparsebench.bench.statistics.uneven_seeds import reach_of_mean

Values = NDArray[np.float64]
Classes = NDArray[np.int64]
QUANTILE = 0.5 + CONFIDENCE / 2


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
    square = parts.square_of_half(parts.images)
    unseen = -math.expm1(math.log(1 - CONFIDENCE) / parts.effective)
    skewed = (2 * t_quantile(QUANTILE, parts.degrees) ** 2 + 1) / 6 * parts.skewness
    losing, winning = parts.lost.mean() ** 3, parts.won.mean() ** 3
    share = (losing - winning) / (losing + winning or 1.0)
    ends = [
        max(math.sqrt(square + parts.further(rates, weight)), unseen)
        for rates, weight in ((parts.lost, share), (parts.won, -share))
    ]
    low, high = parts.mean - ends[0] + min(skewed, 0.0), parts.mean + ends[1] + max(skewed, 0.0)
    return Interval(parts.mean, low, high, parts.count)


def proportion_interval(right: Values, classes: Classes | None = None) -> Interval:
    """Accuracy and 95 % interval over images and seeds.

    Args:
        right: float64 [seeds, images], 1 where the image was right, else 0.
        classes: as in :func:`crossed_interval`.

    Returns:
        Fractions 0-1, no interval with a single seed or image. The point is the plain mean, the
        interval lies around one with two more images right and two wrong.
    """
    parts = _Parts.of(right, classes)
    more, count = 4.0, parts.effective
    middle = (count * parts.mean + more / 2) / (count + more)
    # The spread of the four added images, and theirs around the mean of the others.
    squares = parts.images * count**2 + 1.0
    squares += count * more / (count + more) * (parts.mean - 0.5) ** 2
    square, by_seed = parts.square_of_half(squares / (count + more) ** 2), parts.half_of_seeds()
    logit, width = math.log(middle / (1 - middle)), by_seed / (middle * (1 - middle))
    far = [abs(_expit(logit + sign * width) - middle) for sign in (-1, 1)]
    ends = [math.sqrt(square + max(one**2 - by_seed**2, 0.0)) for one in far]
    low, high = middle - ends[0], middle + ends[1]
    return Interval(parts.mean, max(0.0, low), min(1.0, high), parts.count)


def _expit(logit: float) -> float:
    return (1 + math.tanh(logit / 2)) / 2


@dataclass(frozen=True)
class _Parts:
    """Mean and the parts of its variance: `images` A, `seeds` B, `rest` E.

    `effective` counts images as Kish does, ``1 / sum(weight**2)``; `skewness` is that of the image
    means, in the unit of the mean; `lost` and `won` are each seed's shares of images below and
    above 0, float64 [seeds]; `degrees` of freedom are those of the images, `count` is of seeds.
    """

    mean: float
    images: float
    seeds: float
    rest: float
    effective: float
    skewness: float
    lost: Values
    won: Values
    degrees: int
    count: int

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
        centred = by_image - (np.bincount(inside, by_image) / sizes)[inside]
        residuals = values - by_image
        for row in residuals:
            row -= (np.bincount(inside, row) / sizes)[inside]
        shares = weights * centred
        square = float((shares**2).sum())
        several = seeds > 1
        squares = (residuals**2).sum(axis=0) / max(seeds - 1, 1)
        return cls(
            mean=float(by_seed.mean()),
            images=_weighted_variance(centred**2, inside, sizes),
            seeds=float(by_seed.var(ddof=1)) / seeds if several else math.inf,
            rest=_weighted_variance(squares, inside, sizes) / seeds if several else 0.0,
            effective=1.0 / float((weights**2).sum()),
            skewness=float((shares**3).sum()) / square if square > 0 else 0.0,
            lost=(values < 0) @ weights,
            won=(values > 0) @ weights,
            degrees=images - len(sizes),
            count=seeds,
        )

    def square_of_half(self, images: float) -> float:
        """Square of half of the interval, whose images' part of the variance is `images`."""
        own = max(images - self.rest, 0.0)
        return half_of_sum(own, self.degrees, self.seeds, self.count - 1) ** 2

    def half_of_seeds(self) -> float:
        """Half of the t-interval of the seeds' means."""
        return t_quantile(QUANTILE, self.count - 1) * math.sqrt(self.seeds)

    def further(self, rates: Values, share: float) -> float:
        """What uneven seeds add to the square on the side of a rate with this share of the skew."""
        if share <= 0 or self.count < 2:
            return 0.0
        half = (
            t_quantile(QUANTILE, self.count - 1) * float(rates.std(ddof=1)) / math.sqrt(self.count)
        )
        far = reach_of_mean(rates, self.effective, QUANTILE)
        return share * max(far**2 - half**2, 0.0)


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
