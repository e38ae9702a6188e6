"""When the gate does not judge at all: another machine, other settings, too much noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sparsebench.bench.comparisons.gated_ratios import keys_to_match, name_of
from sparsebench.bench.gate.baseline import Baseline, BaselineCell
from sparsebench.bench.machine.facts import MUST_MATCH
from sparsebench.bench.records import Record
from sparsebench.bench.records.plain import plain
from sparsebench.bench.statistics import RatioEstimate
from sparsebench.bench.statistics.intervals import CONFIDENCE, t_quantile
from sparsebench.models.errors import SparsebenchError


def refuse_other_machine(baseline: Baseline, machine: Mapping[str, Any]) -> None:
    """Stop where the fingerprints differ; the message lists what makes them differ.

    Raises:
        SparsebenchError: numbers of one machine never gate another.
    """
    here = machine.get("fingerprint")
    if here == baseline.fingerprint:
        return
    keys = [
        f"{key}: {baseline.machine.get(key)!r} against {machine.get(key)!r}"
        for key in MUST_MATCH
        if plain(baseline.machine.get(key)) != plain(machine.get(key))
    ] or [f"fingerprint: {baseline.fingerprint} against {here}"]
    raise SparsebenchError(
        f"The baseline is from another machine than the run; they differ in {'; '.join(keys)}.",
        "Write a baseline on this machine (`sparsebench baseline update`), or judge accuracies "
        "and floors only, with --across-machines.",
    )


def refuse_other_settings(pairs: Sequence[tuple[BaselineCell, Record]]) -> None:
    """Stop where a cell was measured with other settings than its baseline.

    Raises:
        SparsebenchError: lists the keys with both values.
    """
    for cell, record in pairs:
        now = plain(keys_to_match(record))
        before = dict(cell.must_match)
        different = [
            f"{key}: {before.get(key)!r} against {now.get(key)!r}"
            for key in (*before, *(key for key in now if key not in before))
            if before.get(key) != now.get(key)
        ]
        if different:
            raise SparsebenchError(
                f"{name_of(cell.key)} was measured with other settings than its baseline: "
                f"{'; '.join(different)}.",
                "Repeat the run as the baseline's was, or update the baseline with a reason.",
            )


def refuse_below_noise(
    pairs: Sequence[tuple[BaselineCell, RatioEstimate | None]], effect: float, noise: float
) -> None:
    """Stop where a limit lies below what this machine can tell from noise.

    Args:
        pairs: cells with the ratio of the run.
        effect: of cells without a limit of their own, fraction.
        noise: standard deviation of the log-ratio of two equal processes in one block.

    Raises:
        SparsebenchError: names the smallest effect that can be asked for.
    """
    for cell, ratio in pairs:
        if ratio is None:
            continue
        asked = cell.limits.effect or effect
        floor = noise_floor(noise, cell.ratio.blocks, ratio.blocks)
        if asked < floor:
            raise SparsebenchError(
                f"{name_of(cell.key)}: a change of {asked:.1%} lies below the noise floor of this "
                f"machine, {floor:.1%} with {cell.ratio.blocks} and {ratio.blocks} blocks.",
                f"Take --effect {math.ceil(floor * 100)}% or more, or measure more blocks.",
            )


def noise_floor(noise: float, before: int, now: int) -> float:
    """The smallest relative change that could be significant, from A/A noise alone.

    Half of the 95 % interval of the change between two runs of so many blocks.

    Args:
        noise: standard deviation of the log-ratio of two equal processes in one block.
        before: blocks of the baseline.
        now: blocks of the run.
    """
    quantile = t_quantile(0.5 + CONFIDENCE / 2, before + now - 2)
    return math.expm1(quantile * noise * math.sqrt(1 / before + 1 / now))
