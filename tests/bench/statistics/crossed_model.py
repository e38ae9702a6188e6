"""Right and wrong answers of two networks whose true accuracies are known.

A threshold model: an image is right where a latent score is above 0. The score has a part of the
image that the two networks share, one that they do not, one of the seed and one of both; each is
normal, so that the true accuracy over all images and seeds is a value of the normal distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Answers = NDArray[np.bool_]


@dataclass(frozen=True)
class Model:
    """A pair of networks.

    Args:
        sparse: true accuracy over all images and seeds, 0-1.
        dense: the same.
        difficulty: standard deviation of the images' part, in units of the part of both.
        shared: share of its variance that the two networks have in common.
        seeds: standard deviation of the seeds' part.
    """

    sparse: float
    dense: float
    difficulty: float = 2.0
    shared: float = 0.8
    seeds: float = 0.05

    @property
    def change(self) -> float:
        """True change, fraction."""
        return self.sparse - self.dense

    def draw(
        self, rng: np.random.Generator, runs: int, seeds: int, images: int
    ) -> tuple[Answers, Answers]:
        """Sparse and dense answers, bool [runs, seeds, images]."""
        scale = np.sqrt(self.difficulty**2 + self.seeds**2 + 1)
        common = rng.standard_normal((runs, 1, images), dtype=np.float32)
        found = []
        for accuracy in (self.sparse, self.dense):
            own = rng.standard_normal((runs, 1, images), dtype=np.float32)
            image = np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own
            seed = rng.standard_normal((runs, seeds, 1), dtype=np.float32)
            both = rng.standard_normal((runs, seeds, images), dtype=np.float32)
            score = self.difficulty * image + self.seeds * seed + both
            found.append(score > -ndtri(accuracy) * scale)
        return found[0], found[1]
