"""What a detector found on each test image with every seed: the outcomes of a detection task.

A file of NumPy's, as :mod:`sparsebench.bench.records.outcomes` writes it, with ``seeds`` (int64
[S]), ``truths`` ([N, C], countable boxes of each class on each image) and of each seed `i`
``image_i`` [n], ``label_i`` [n], ``score_i`` (float32 [n]), ``right_i`` and ``ignored_i`` (uint16
[n], a bit for each of COCO's ten thresholds, 0.5 first).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # reading records loads no numpy
    import numpy as np
    from numpy.typing import NDArray

    from sparsebench.bench.statistics import Interval
    from sparsebench.bench.statistics.average_precision import Judged

POSITIONS: Mapping[str, tuple[int, ...]] = {"map50": (0,), "map50_95": tuple(range(10))}
"""Metric -> the thresholds that it is a mean over."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Judged detections on the test split.

    Args:
        seeds: of `judged`.
        judged: of each seed.
        truths: int64 [images, classes].
    """

    seeds: tuple[int, ...]
    judged: tuple[Judged, ...]
    truths: NDArray[np.int64]

    def of_seeds(self, seeds: Sequence[int]) -> Detections:
        """Those of the given seeds; all of them must be there."""
        chosen = tuple(self.judged[self.seeds.index(seed)] for seed in seeds)
        return replace(self, seeds=tuple(seeds), judged=chosen)

    def scores(self, metric: str, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean average precision 0-1 [draws, seeds] under weights of the images [draws, images]."""
        import numpy as np

        from sparsebench.bench.statistics.average_precision import mean_average_precision

        thresholds = POSITIONS[metric]
        found = [mean_average_precision(j, self.truths, thresholds, weights) for j in self.judged]
        return np.stack(found, axis=1)

    def interval(self, metric: str) -> Interval:
        """The score with its interval over images and seeds, fractions 0-1."""
        from sparsebench.bench.statistics.image_bootstrap import bootstrapped_interval

        found = bootstrapped_interval(lambda w: self.scores(metric, w), len(self.truths))
        if found.ci95 is None:
            return found
        return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))

    def change_from(self, before: Any, metric: str) -> Interval | None:
        """The change of the score with its interval; None where the two are not comparable."""
        from sparsebench.bench.statistics.image_bootstrap import bootstrapped_interval

        seeds = [seed for seed in self.seeds if seed in getattr(before, "seeds", ())]
        if not seeds or not self.about_the_same(before):
            return None
        after, earlier = self.of_seeds(seeds), before.of_seeds(seeds)
        return bootstrapped_interval(
            lambda w: after.scores(metric, w) - earlier.scores(metric, w), len(self.truths)
        )

    def about_the_same(self, other: Any) -> bool:
        """Whether both are about the same test images, as far as their boxes tell."""
        import numpy as np

        return isinstance(other, Detections) and np.array_equal(self.truths, other.truths)

    def is_equal(self, other: Any) -> bool:
        """Whether both found the same, judged the same, with every seed."""
        return self.about_the_same(other) and self.to_bytes() == other.to_bytes()

    def joined_with(self, others: Sequence[Any]) -> Detections | None:
        """With the seeds of others that it lacks; None where one is about other images."""
        known = dict(zip(self.seeds, self.judged, strict=True))
        for other in others:
            if not self.about_the_same(other):
                return None
            for seed, judged in zip(other.seeds, other.judged, strict=True):
                known.setdefault(seed, judged)
        return replace(self, seeds=tuple(known), judged=tuple(known.values()))

    def to_bytes(self) -> bytes:
        """As a file; the same outcomes give the same bytes."""
        import numpy as np

        arrays: dict[str, Any] = {"seeds": np.array(self.seeds, np.int64), "truths": self.truths}
        bits = 1 << np.arange(10, dtype=np.uint16)
        for i, judged in enumerate(self.judged):
            arrays |= {
                f"image_{i}": judged.image.astype(np.int32),
                f"label_{i}": judged.label.astype(np.int32),
                f"score_{i}": judged.score.astype(np.float32),
                f"right_{i}": (judged.right * bits).sum(1).astype(np.uint16),
                f"ignored_{i}": (judged.ignored * bits).sum(1).astype(np.uint16),
            }
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_file(cls, file: Mapping[str, Any]) -> Detections:
        """From a file of NumPy's."""
        import numpy as np

        from sparsebench.bench.statistics.average_precision import Judged

        seeds = tuple(int(seed) for seed in file["seeds"])
        bits = 1 << np.arange(10, dtype=np.uint16)
        judged = tuple(
            Judged(
                image=file[f"image_{i}"].astype(np.int64),
                label=file[f"label_{i}"].astype(np.int64),
                score=file[f"score_{i}"],
                right=(file[f"right_{i}"][:, None] & bits) > 0,
                ignored=(file[f"ignored_{i}"][:, None] & bits) > 0,
            )
            for i in range(len(seeds))
        )
        return cls(seeds, judged, file["truths"].astype(np.int64))
