"""What trains heads of a kind of task is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.plan.settings import HeadSettings
from sparsebench.bench.records import Kept
from sparsebench.bench.tasks.base import Task
from sparsebench.models.cards import Preprocessing

if TYPE_CHECKING:
    from sparsebench.models.onnx_file.backbone import OnnxBackbone
    from sparsebench.models.zoo.load import Backbone


@dataclass(frozen=True)
class Scoring:
    """How heads are trained and scored.

    Attributes:
        task: labels or boxes, and the metric.
        settings: of the heads.
        seeds: one head each.
        threads: CPU threads of the training.
        clock: gets the stages ``head`` and ``evaluate``; whoever scores stops it.
        preprocessing: what the images went through.
        facts: of the artifact that extracted the features.
        first: whether the cell has no good trial yet.
        backbone: whose features they are.
    """

    task: Task
    settings: HeadSettings
    seeds: Sequence[int]
    threads: int
    clock: StageClock
    preprocessing: Preprocessing
    facts: Mapping[str, Any]
    first: bool
    backbone: Backbone | OnnxBackbone


@dataclass(frozen=True)
class Heads:
    """What trained heads get right, without a clock; it travels between machines.

    Attributes:
        accuracy: as of :class:`Scored`, like the others.
        outcomes: see above.
        extra: see above.
    """

    accuracy: tuple[float, ...]
    outcomes: Kept
    extra: dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """Trained and evaluated heads.

    Attributes:
        clock: the stopped stage clock of the whole.
        accuracy: the task's metric, one a seed, fractions 0-1, on the test images.
        outcomes: what each seed got right on each test image.
        weight_decays: weight decay -> validation accuracy (0-1), where a sweep was asked for.
        extra: for the trial's ``extra``: what trained the heads, and more scores.
    """

    clock: StageClock
    accuracy: tuple[float, ...]
    outcomes: Kept
    weight_decays: dict[float, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> Heads:
        """What is no time of it."""
        return Heads(self.accuracy, self.outcomes, self.extra)
