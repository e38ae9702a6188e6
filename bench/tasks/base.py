"""What a task is: labelled images in a fixed train and test split, and a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast, get_args

import numpy as np

from sparsebench.bench.tasks.kinds import CLASSIFICATION, TaskKind
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.images.labelled import LabelledImages, ReadOptions, class_counts
from sparsebench.models.images.losses import others_said
from sparsebench.models.images.text import shortened

Metric = Literal["top1", "mean_per_class", "map50", "map50_95"]
METRICS: tuple[str, ...] = get_args(Metric)


@dataclass(frozen=True)
class TaskOptions(ReadOptions):
    """What whoever opens a task may say; every builder takes one of these.

    Attributes:
        data_dir: where data sets that can be downloaded lie or go.
        download: whether a missing data set may be fetched.
        say: told in words what takes time (a download); None for the log.
    """

    data_dir: Path | None = None
    download: bool = True
    say: Callable[[str], None] | None = None


@dataclass(frozen=True, eq=False)
class Task(LabelledImages):
    """A downstream data set: labelled images and what an accuracy on them means.

    Attributes:
        metric: ``top1``, or ``mean_per_class`` (the mean of the classes' own accuracies).
        notes: what whoever reads its accuracies should know.
        kind: what is asked of a network.
    """

    kind: ClassVar[TaskKind] = CLASSIFICATION

    metric: Metric = "top1"
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, images: LabelledImages, **more: Any) -> Self:
        """A task of these images; `more` are further fields, or others in their place."""
        return cls(**({f.name: getattr(images, f.name) for f in fields(images)} | more))

    def with_metric(self, metric: str) -> Task:
        """The same task under another metric.

        Raises:
            UnknownNameError: there is none of this name.
            SparsebenchError: it is one of another kind of task.
        """
        if known_metric(metric) not in self.kind.metrics:
            raise SparsebenchError(
                f"'{self.name}' is a {self.kind.name} task, which has no metric '{metric}'.",
                f"Take --metric {' or --metric '.join(self.kind.metrics)}.",
            )
        return replace(self, metric=known_metric(metric))

    def input_of(self, preprocessing: Preprocessing) -> Preprocessing:
        """What its images go through in front of a backbone with this preprocessing."""
        return preprocessing

    def with_notes(self) -> Task:
        """The same task, with notes on files that are no images and on classes of one image."""
        notes = [others_said(self.others)] if self.others else []
        for side, split in (("train", self.train), ("test", self.test)):
            counts = class_counts(split.labels, len(self.classes), self.name)
            lone = [self.classes[i] for i in np.flatnonzero(counts == 1)]
            if lone:
                meaning = {
                    "train": "nothing of them can be held out for validation",
                    "test": "their own accuracy is 0 or 100 %",
                }[side]
                notes.append(
                    f"{len(lone)} class(es) with a single {side} image "
                    f"({shortened(lone)}): {meaning}"
                )
        return replace(self, notes=(*self.notes, *notes))

    def describe(self) -> dict[str, Any]:
        """The record's ``task`` entry."""
        return {
            "name": self.name,
            "classes": len(self.classes),
            "train": len(self.train),
            "test": len(self.test),
            "metric": self.metric,
            "sha256": self.sha256,
        }


def known_metric(metric: str) -> Metric:
    """The metric of this name.

    Raises:
        UnknownNameError: there is none.
    """
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)
    return cast(Metric, metric)
