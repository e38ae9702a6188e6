"""What trainings say beyond their time, carried by trials and gathered into records."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.records import Kept, Outcomes, Trial, stacked, unpacked
from sparsebench.bench.training.trained import Trained


def trial_facts(trained: Sequence[Trained]) -> dict[str, Any]:
    """Of the trainings of one trial, for its ``extra``.

    ``curve`` holds for each seed ``[elapsed seconds, loss, validation accuracy]`` an epoch.
    """
    busy = {name for one in trained for name in one.busy}
    return {
        "seeds": [one.seed for one in trained],
        "seconds_per_seed": [one.seconds for one in trained],
        "best_per_seed": [one.best for one in trained],
        "best_epoch_per_seed": [one.best_epoch for one in trained],
        "curve": [
            [[epoch.elapsed, epoch.loss, epoch.validation] for epoch in one.epochs]
            for one in trained
        ],
        "busy_seconds": {name: fmean(one.busy.get(name, 0.0) for one in trained) for name in busy},
        **stacked([one.scores for one in trained]),
        **{key: value for one in trained for key, value in one.facts.items()},
    }


def outcomes_of(trained: Sequence[Trained], labels: NDArray[np.int64]) -> Kept:
    """What each training answered on the test split, whose `labels` are ``[n]``."""
    if trained[0].outcomes:
        first, *others = (Outcomes.from_bytes(base64.b64decode(t.outcomes)) for t in trained)
        joined = first.joined_with(others)
        assert joined is not None  # they are about the same images
        return joined
    rows = [unpacked(one.right, len(labels)) for one in trained]
    return Outcomes(tuple(one.seed for one in trained), np.stack(rows), labels)


def mean_stages(trained: Sequence[Trained]) -> dict[str, float]:
    """Seconds of each stage of a training, the mean over several; they sum to the mean total."""
    names = dict.fromkeys(name for one in trained for name in one.stages)
    return {name: fmean(one.stages.get(name, 0.0) for one in trained) for name in names}


def mean_process_seconds(trained: Sequence[Trained]) -> list[float] | None:
    """Processor time of a trial: the mean over its trainings, as its wall time is one."""
    return _mean([one.process_seconds for one in trained])


def mean_run_delay(trained: Sequence[Trained]) -> list[float] | None:
    """Likewise how long its threads waited for a processor."""
    return _mean([one.run_delay_seconds for one in trained])


def _mean(values: Sequence[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return [fmean(known)] if known and len(known) == len(values) else None


def best_epoch_scores(trials: Sequence[Trial]) -> dict[int, float]:
    """Seed -> test accuracy (0-1) after the epoch that the validation split chose."""
    found: dict[int, float] = {}
    for trial in trials:
        pairs = zip(trial.extra.get("seeds", ()), trial.extra.get("best_per_seed", ()), strict=True)
        for seed, accuracy in pairs:
            found.setdefault(int(seed), float(accuracy))
    return found


def training_facts(trials: Sequence[Trial]) -> dict[str, Any]:
    """Of all trials of a cell, for its record's ``extra``; nothing unless trained step by step."""
    told = [trial.extra for trial in trials if "curve" in trial.extra]
    if not told:
        return {}
    return {
        "curves": {
            str(seed): curve
            for extra in told
            for seed, curve in zip(extra["seeds"], extra["curve"], strict=True)
        },
        "accumulated_after_out_of_memory": max(
            (extra.get("accumulated_after_out_of_memory") or 0 for extra in told), default=0
        )
        or None,
        "execution": told[-1].get("execution"),
        "layers": told[-1].get("layers"),
        "tuning": [extra["tuning"] for extra in told if "tuning" in extra],
    }
