"""A detection task: images with boxes, whose metric is mean average precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.detection.boxes import BoxSplit
from sparsebench.bench.tasks.kinds import DETECTION
from sparsebench.models.cards import Letterbox, Preprocessing
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.text import shortened


@dataclass(frozen=True, eq=False)
class DetectionTask(Task):
    """Images with boxes of known classes.

    Attributes:
        metric: ``map50`` (AP at IoU 0.5, mean over classes) or ``map50_95`` (COCO's mean over ten
            IoUs).
        faults: what was left out or cut, in words.

    Raises:
        SparsebenchError: no class, no image on a side, or a class without a box on one.
    """

    train: BoxSplit
    test: BoxSplit
    metric: Any = DETECTION.metrics[0]
    faults: tuple[str, ...] = ()

    kind = DETECTION

    def __post_init__(self) -> None:
        for side, split in (("train", self.train), ("test", self.test)):
            if not len(split):
                raise SparsebenchError(
                    f"'{self.name}' has no {side} image.", "Put images with boxes on both sides."
                )
            counts = split.counts(len(self.classes))
            empty = [self.classes[i] for i in np.flatnonzero(counts == 0)]
            if empty or not self.classes:
                raise SparsebenchError(
                    f"'{self.name}' has no {side} box of {shortened(empty) or 'any class'}.",
                    "Every class needs boxes on both sides; leave it out of both lists, or raise "
                    "--limit.",
                )

    def with_notes(self) -> DetectionTask:
        """The same task, with notes on what was left out and on classes with few test boxes."""
        counts = self.test.counts(len(self.classes))
        few = [f"{self.classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < 10)]
        notes = list(self.faults)
        if few:
            notes.append(f"{len(few)} class(es) with fewer than 10 test boxes: {shortened(few)}")
        return replace(self, notes=(*self.notes, *notes))

    def input_of(self, preprocessing: Preprocessing) -> Letterbox:
        """The whole image, as large as fits, its proportions kept."""
        return Letterbox.of(preprocessing)

    def describe(self) -> dict[str, Any]:
        """As :meth:`Task.describe`, with the number of boxes."""
        boxes = {f"{s}_boxes": int(self.split(s).counts(len(self.classes)).sum()) for s in _SIDES}  # type: ignore[attr-defined]
        return {**super().describe(), **boxes}


_SIDES = ("train", "test")
