"""Kinds of tasks: what the rest of the suite must know of classification and of detection.

Standard library only. A kind is one :class:`TaskKind` here; the head that it trains is a function
that is imported where it trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsebench.models.errors import SparsebenchError


@dataclass(frozen=True)
class TaskKind:
    """One kind of task.

    Attributes:
        name: of the kind.
        shown: metric -> what tables call it; the first one is the usual one.
        head: ``"module:function"`` that trains and scores heads on features
            (:mod:`sparsebench.bench.workloads.linear_head`).
        without: settings of heads that do not concern it.
        outputs: workload -> what of the network it runs (:class:`Artifact`'s ``output``); empty
            where every workload runs the pooled features.
    """

    name: str
    shown: Mapping[str, str]
    head: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    def settings_of(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """What a record's settings say, without what does not concern such tasks."""
        return {key: value for key, value in recorded.items() if key not in self.without}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of such tasks, the usual one first."""
        return tuple(self.shown)

    @property
    def extracted(self) -> str:
        """What heads are trained on."""
        return self.outputs.get("linear-cached", "features")

    def output_of(self, workload: str) -> str:
        """What of the network a workload runs.

        Raises:
            SparsebenchError: it does not know tasks of this kind.
        """
        if not self.outputs:
            return "features"
        if workload not in self.outputs:
            raise SparsebenchError(
                f"'{workload}' does not know {self.name} tasks.",
                f"Take --workload {' or --workload '.join(sorted(self.outputs))}.",
            )
        return self.outputs[workload]


CLASSIFIED = "accuracy"
CLASSIFICATION = TaskKind(
    "classification",
    {"top1": CLASSIFIED, "mean_per_class": CLASSIFIED},
    "sparsebench.bench.workloads.linear_head:score_linear",
)
DETECTION = TaskKind(
    "detection",
    {"map50": "mAP50", "map50_95": "mAP50-95"},
    "sparsebench.bench.heads.detection.score:score_boxes",
    {"inference": "detector", "serving": "detector", "linear-cached": "maps"},
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
