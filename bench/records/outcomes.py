"""Which test images every seed got right: a small file below the run's folder for each launch.

A file of NumPy's (``correct/CELL-LAUNCH.npz``) holds ``seeds`` (int64 [S]), ``images`` (how many,
N), ``bits`` (uint8 [S, ceil(N / 8)], ``numpy.packbits`` of right or wrong, one row a seed) and
``labels`` ([N], class numbers in the order of the test split). It is on disk before the trial
that names it with its sha256, so that a kill loses at most that trial.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.bench.records.detections import Detections
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:  # reading records loads no numpy
    import numpy as np
    from numpy.typing import NDArray

    from sparsebench.bench.statistics import Interval

    Right = NDArray[np.bool_]

MEAN_PER_CLASS = "mean_per_class"
FOLDER = "correct"
# In a trial's `extra`: the file and its sha256.
CORRECT = "correct"


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Right and wrong answers on the test split.

    Args:
        seeds: of the rows of `right`.
        right: bool [seeds, images].
        labels: class numbers [images].
    """

    seeds: tuple[int, ...]
    right: Right
    labels: NDArray[np.int64]

    def of_seeds(self, seeds: Sequence[int]) -> Right:
        """Rows of the given seeds, bool [seeds, images]; all of them must be there."""
        return self.right[[self.seeds.index(seed) for seed in seeds]]

    def interval(self, metric: str) -> Interval:
        """The accuracy with its interval over images and seeds, fractions 0-1."""
        from sparsebench.bench.statistics import proportion_interval

        return proportion_interval(self.right.astype(float), self._classes(metric))

    def change_from(self, before: Any, metric: str) -> Interval | None:
        """The change of the accuracy with its interval; None where the two are not comparable."""
        from sparsebench.bench.statistics import crossed_interval

        seeds = [seed for seed in self.seeds if seed in getattr(before, "seeds", ())]
        if not seeds or not self.about_the_same(before):
            return None
        difference = self.of_seeds(seeds).astype(float) - before.of_seeds(seeds)
        return crossed_interval(difference, self._classes(metric))

    def about_the_same(self, other: Any) -> bool:
        """Whether both are about the same test images, as far as their labels tell."""
        import numpy as np

        return isinstance(other, Outcomes) and np.array_equal(self.labels, other.labels)

    def is_equal(self, other: Any) -> bool:
        """Whether both got the same test images right with every seed."""
        import numpy as np

        return self.about_the_same(other) and np.array_equal(self.right, other.right)

    def joined_with(self, others: Sequence[Any]) -> Outcomes | None:
        """With the seeds of others that it lacks; None where one is about other images."""
        import numpy as np

        rows = dict(zip(self.seeds, self.right, strict=True))
        for other in others:
            if not self.about_the_same(other):
                return None
            for seed, row in zip(other.seeds, other.right, strict=True):
                rows.setdefault(seed, row)
        return Outcomes(tuple(rows), np.stack(list(rows.values())), self.labels)

    def _classes(self, metric: str) -> NDArray[np.int64] | None:
        return self.labels if metric == MEAN_PER_CLASS else None

    def to_bytes(self) -> bytes:
        """As a file; the same outcomes give the same bytes."""
        import numpy as np

        file = io.BytesIO()
        largest = int(self.labels.max(initial=0))
        np.savez_compressed(
            file,
            seeds=np.array(self.seeds, np.int64),
            images=np.int64(self.right.shape[1]),
            bits=np.packbits(self.right, axis=1),
            labels=self.labels.astype(np.min_scalar_type(largest)),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Outcomes | Detections:
        """Back from :meth:`to_bytes`; the file says which kind of outcomes it holds."""
        import numpy as np

        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            if "truths" in file:
                return Detections.from_file(file)
            count = int(file["images"])
            right = np.unpackbits(file["bits"], axis=1, count=count).astype(bool)
            seeds = tuple(int(seed) for seed in file["seeds"])
            return cls(seeds, right, file["labels"].astype(np.int64))


Kept = Outcomes | Detections
"""Outcomes of a classification or of a detection task: both know their own intervals."""


@dataclass(frozen=True)
class OutcomesFile:
    """Where outcomes are kept.

    Args:
        file: path below the run's folder.
        sha256: of the file.
        folder: the run's; not part of a record.
    """

    file: str
    sha256: str
    folder: Path | None = field(default=None, compare=False, metadata={"stored": False})

    @classmethod
    def from_json(cls, line: Mapping[str, Any], folder: Path | None = None) -> OutcomesFile:
        """As a record or a trial names it."""
        return cls(str(line["file"]), str(line["sha256"]), folder)

    def read(self) -> Kept | None:
        """The outcomes; None where the file did not come along with the run.

        Raises:
            SparsebenchError: it is not the file that was written.
        """
        return None if self.folder is None else _read(self.folder / self.file, self.sha256)


# One comparison needs two of them; a run's table goes over its cells several times.
@lru_cache(maxsize=64)
def _read(path: Path, sha256: str) -> Kept | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be read ({error.strerror}).") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SparsebenchError(
            f"{path} is not the file that its run has written: its sha256 differs.",
            "Restore it, or delete it: the intervals of accuracies are then over seeds alone.",
        )
    return Outcomes.from_bytes(data)


def joined(files: Sequence[OutcomesFile], seeds: Sequence[int]) -> Kept | None:
    """Outcomes of the given seeds from several files, the first that has a seed counts.

    None where a seed is in none of them, or where they are not about the same images.
    """
    read = [file.read() for file in files]
    known = [one for one in read if one is not None]
    if not known or len(known) < len(read):
        return None
    whole = known[0].joined_with(known[1:])
    if whole is None or not set(seeds) <= set(whole.seeds):
        return None
    if isinstance(whole, Detections):
        return whole.of_seeds(seeds)
    return Outcomes(tuple(seeds), whole.of_seeds(seeds), whole.labels)


def write_outcomes(folder: Path, name: str, outcomes: Kept) -> OutcomesFile:
    """Write a file of outcomes and wait until it is on the disk.

    Raises:
        SparsebenchError: it cannot be written.
    """
    data = outcomes.to_bytes()
    target = folder / FOLDER / f"{name}.npz"
    temporary = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise SparsebenchError(
            f"{target} cannot be written: {error.strerror}.", "Free some space or check its owner."
        ) from error
    return OutcomesFile(f"{FOLDER}/{target.name}", hashlib.sha256(data).hexdigest(), folder)


def packed(right: Right) -> str:
    """One row of right or wrong answers, bool [images], as text for a process's answer."""
    import numpy as np

    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, images: int) -> Right:
    """Back from :func:`packed`."""
    import numpy as np

    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(bits, count=images).astype(bool)
