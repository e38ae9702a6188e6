"""Cached features: found again by content, rebuilt when missing or damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads.features.extract import extract_batches
from sparsebench.bench.heads.features.file import DamagedEntryError, FeatureWriter, read_features
from sparsebench.bench.heads.features.flight import BatchRunner
from sparsebench.bench.heads.features.key import FeatureKey
from sparsebench.bench.images import Source
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing

log = logging.getLogger("sparsebench")

RunnerFactory = Callable[[], AbstractContextManager[BatchRunner]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class CachedFeatures:
    """Features of one split.

    Attributes:
        array: ``[n, D]``, float32, mapped read-only.
        path: the entry.
        hit: whether they were there already.
        damage: what was wrong with an entry that had to be rebuilt, else None.
    """

    array: NDArray[np.float32]
    path: Path
    hit: bool
    damage: str | None = None


class FeatureCache:
    """A folder of feature files, one for each key.

    Several processes may use it at once: each builds what it misses for itself, the last
    one to finish replaces an equal file, and files that are mapped stay readable.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: FeatureKey) -> Path:
        """Where the entry of a key lies."""
        return self.root / f"{key.digest()[:40]}.features"

    def find(self, key: FeatureKey, rows: int) -> tuple[NDArray[np.float32] | None, str | None]:
        """The features of a key, checked through; or None, and what was wrong with them."""
        path = self.path(key)
        try:
            return read_features(path, key.to_json(), rows), None
        except FileNotFoundError:
            return None, None
        except (DamagedEntryError, OSError) as error:
            log.warning("cached features %s are made again: %s", path, error)
            return None, str(error)

    def get_or_extract(
        self,
        key: FeatureKey,
        task: Task,
        split: str,
        preprocessing: Preprocessing,
        runner_factory: RunnerFactory,
        *,
        workers: int | None = None,
        clock: StageClock | None = None,
        progress: Progress | None = None,
        fresh: bool = False,
        source: Source | None = None,
    ) -> CachedFeatures:
        """The features of a split, from the cache or else from the engine.

        Stages: ``load`` (opening and checking an entry), ``store`` (writing one), and
        those of :func:`sparsebench.bench.heads.features.extract.extract_batches`.

        Args:
            key: what the features depend on.
            task: the images.
            split: ``train`` or ``test``.
            preprocessing: of the backbone, at the runner's input size.
            runner_factory: gives the engine, entered and left as a context manager; not
                called when the cache has the features.
            workers: decoding threads; None for the cores this process may use.
            clock: of the calling thread.
            progress: told (images done, images in all) after every batch.
            fresh: extract even if the features are there (to time the extraction).
            source: the split's images, decoded already; None decodes them.

        Raises:
            SparsebenchError: no room or no permission to write (nothing half-written is
                left), an unreadable image, features that are not finite.
        """
        clock = clock or StageClock()
        rows = len(task.split(split))
        damage = None
        if not fresh:
            with clock.stage("load"):
                found, damage = self.find(key, rows)
            if found is not None:
                return CachedFeatures(found, self.path(key), hit=True)
        with runner_factory() as runner:
            self._build(key, task, split, preprocessing, runner, workers, clock, progress, source)
        with clock.stage("load"):
            built = read_features(self.path(key), key.to_json(), rows, check=False)
        return CachedFeatures(built, self.path(key), hit=False, damage=damage)

    def _build(
        self,
        key: FeatureKey,
        task: Task,
        split: str,
        preprocessing: Preprocessing,
        runner: BatchRunner,
        workers: int | None,
        clock: StageClock,
        progress: Progress | None,
        source: Source | None,
    ) -> None:
        rows = len(task.split(split))
        with clock.stage("store"):
            writer = FeatureWriter(self.path(key), key.to_json(), rows, runner.feature_dim)
        with writer:
            done = 0
            for _, features in extract_batches(
                task, split, preprocessing, runner, workers=workers, clock=clock, source=source
            ):
                with clock.stage("store"):
                    writer.write(features)
                done += len(features)
                if progress:
                    progress(done, rows)
            with clock.stage("store"):
                writer.publish()
