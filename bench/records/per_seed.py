"""Values of several seeds: nested dictionaries whose leaves are lists, one value a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparsebench.bench.records.trial import Trial


def stacked(values: Sequence[Any]) -> Any:
    """Equal dictionaries of single values as one of lists."""
    if values and all(isinstance(value, Mapping) for value in values):
        return {key: stacked([value[key] for value in values]) for key in values[0]}
    return list(values)


def of_seeds(trials: Sequence[Trial], key: str, seeds: Sequence[int]) -> Any:
    """What trials say under a key of their `extra`, a value a seed, sorted by seed.

    A seed fixes everything, so the first trial that has it counts.

    Args:
        trials: each with the `seeds` of its own `extra`, or with all of them.
        key: of a dictionary whose leaves are lists, one value a seed.
        seeds: of the plan.

    Returns:
        None where no trial says anything.
    """
    found: dict[int, Any] = {}
    for trial in trials:
        if told := trial.extra.get(key):
            own = trial.extra.get("seeds", seeds)
            for place, seed in enumerate(own):
                found.setdefault(int(seed), _at(told, place))
    return stacked([found[seed] for seed in sorted(found)]) if found else None


def _at(told: Any, place: int) -> Any:
    if isinstance(told, Mapping):
        return {key: _at(value, place) for key, value in told.items()}
    return told[place] if place < len(told) else None
