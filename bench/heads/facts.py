"""What the heads of ``linear-cached`` say beyond their time, gathered from trials into records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sparsebench.bench.heads.sweep import strongest
from sparsebench.bench.records import Trial
from sparsebench.bench.workloads.settings import HeadSettings


def head_facts(settings: HeadSettings, trials: Sequence[Trial]) -> dict[str, Any]:
    """Of the heads of ``linear-cached``, for its record's ``extra``: a value a block.

    A sweep shares the stage with the schedule, and L-BFGS has no epochs: no time of one then.
    """
    swept = [trial.extra["weight_decays"] for trial in trials if trial.extra.get("weight_decays")]
    epochs = settings.epochs if settings.solver == "sgd" and not settings.weight_decays else 0
    return {
        "head_seconds_per_epoch": [t.stages["head"] / epochs for t in trials if "head" in t.stages]
        if epochs
        else None,
        "chosen_weight_decays": [
            strongest({float(decay): score for decay, score in scores.items()}) for scores in swept
        ]
        or None,
    }
