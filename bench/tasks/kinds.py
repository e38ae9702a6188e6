"""Kinds of tasks: what the rest of the suite must know of classification and of detection.

Standard library only. A kind is one :class:`TaskKind` here; the head that it trains is a function
that is imported where it trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TaskKind:
    """One kind of task.

    Attributes:
        name: of the kind.
        shown: metric -> what tables call it; the first one is the usual one.
        head: ``"module:function"`` that trains and scores heads on features
            (:mod:`sparsebench.bench.workloads.linear_head`).
        objective: ``"module:function"`` that gives what trainings of whole networks minimise, of a
            task and its preprocessing (:class:`sparsebench.bench.training.objective.Objective`).
        without: settings of heads that do not concern it.
        extracted: what of the network heads are trained on (:class:`Artifact`'s ``output``).
        whole: what of it is the whole that is deployed; as above where pooled features are both.
    """

    name: str
    shown: Mapping[str, str]
    head: str
    objective: str
    extracted: str = "features"
    whole: str = "features"
    without: tuple[str, ...] = ()

    def settings_of(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """What a record's settings say, without what does not concern such tasks."""
        return {key: value for key, value in recorded.items() if key not in self.without}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of such tasks, the usual one first."""
        return tuple(self.shown)


CLASSIFIED = "accuracy"
CLASSIFICATION = TaskKind(
    "classification",
    {"top1": CLASSIFIED, "mean_per_class": CLASSIFIED},
    "sparsebench.bench.workloads.linear_head:score_linear",
    "sparsebench.bench.training.objective:of_labels",
)
DETECTION = TaskKind(
    "detection",
    {"map50": "mAP50", "map50_95": "mAP50-95"},
    "sparsebench.bench.heads.detection.score:score_boxes",
    "sparsebench.bench.training.boxes:of_boxes",
    "maps",
    "detector",
    ("solver", "epochs", "weight_decays", "validation"),
)
KINDS = (CLASSIFICATION, DETECTION)
METRICS = tuple(metric for kind in KINDS for metric in kind.metrics)


def word_of(metrics: Iterable[str | None]) -> str:
    """What tables call a value of these metrics: ``accuracy``, ``mAP50``, or both.

    Args:
        metrics: as records name them; None and unknown ones are accuracies.
    """
    words = {metric: word for kind in KINDS for metric, word in kind.shown.items()}
    found = dict.fromkeys(words.get(metric or "", CLASSIFIED) for metric in metrics)
    return " or ".join(found) or CLASSIFIED


def worded(title: str, word: str) -> str:
    """A title that says ``accuracy``, with the word for what it is (:func:`word_of`)."""
    return title.replace(CLASSIFIED, word)
