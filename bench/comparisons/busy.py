"""Whether a run was measured on a busy machine: what its records and trials tell of it.

Drift (`sparsebench.bench.machine.drift`) sees a machine that changes; this sees one that is
steadily busy. A run counts as busy where any of these holds:

- **load**: the load average before and after its blocks, less the processors that the run itself
  kept at work, is above the machine's number of processors;
- **foreign**: other programs took more than 10 % of the processors' time during its blocks, and
  with them the run's own threads found no place any more;
- **waited**: the engines' threads waited for a processor for more than 10 % of the time that they
  could have run (only where nothing but the engine works, as in ``inference``);
- **apart**: the wall and process times of at least half of its cells drift apart by a quarter
  from block to block.

Older runs hold none of this and never count as busy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sparsebench.bench.machine.facts import load_now
from sparsebench.bench.plan.workloads import described
from sparsebench.bench.records import Record, Trial
from sparsebench.models.cpus import usable_cpus

LOAD = "load"
"""Key of a record's ``extra``: :func:`load_of` over the blocks of its run."""
SHARE = 0.10
APART = 1.25
ADVICE = "Its times are not to be trusted; repeat it on a quiet machine."


@dataclass(frozen=True)
class Busy:
    """How busy the machine of a run was; a value is None where it is not known.

    Args:
        cpus: processors that the run may use.
        load: load average of the whole machine over its blocks, median.
        foreign_cpus: processors that other programs kept at work, mean.
        waited: share of their time (0-1) for which the engines' threads waited.
        apart: largest over smallest ratio of wall and process time of a cell, over blocks; of
            the median cell.
        reasons: what of it makes the machine busy, as parts of a sentence.
    """

    cpus: int
    load: float | None
    foreign_cpus: float | None
    waited: float | None
    apart: float | None
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """One line for the top of a table."""
        return f"Busy machine: {'; '.join(self.reasons)}. {ADVICE}"


def busy(records: Sequence[Record], trials: Sequence[Trial]) -> Busy | None:
    """How busy the machine of a run was; None where it was quiet, or nothing is known.

    Args:
        records: of the run.
        trials: of the run; discarded ones do not count.
    """
    told = [record.extra[LOAD] for record in records if record.extra.get(LOAD)]
    good = [trial for trial in trials if trial.status == "ok"]
    threads = max((record.engine.threads for record in records), default=1)
    cpus, whole = (max((int(one[key]) for one in told), default=1) for key in ("cpus", "all_cpus"))
    load, own, foreign = (_middle(told, key) for key in ("load1", "own_cpus", "foreign_cpus"))
    waited, apart = waited_share(good), _apart(good)
    reasons = []
    if load is not None and load - (cpus if own is None else own) > whole:
        reasons.append(f"a load of {load:.1f} on {_cpus(whole)}")
    if foreign is not None and foreign > SHARE * cpus and foreign + threads > cpus:
        reasons.append(f"other programs kept {foreign:.1f} of {_cpus(cpus)} at work")
    if waited is not None and waited > SHARE:
        reasons.append(f"the engines' threads waited {waited:.0%} of their time for a CPU")
    if apart is not None and apart > APART:
        reasons.append(f"wall and process times drifted apart by {apart - 1:.0%} between blocks")
    return Busy(cpus, load, foreign, waited, apart, tuple(reasons)) if reasons else None


def load_of(blocks: Iterable[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """What the blocks of a run tell of the machine's load, for its records' ``extra``.

    Args:
        blocks: lines of ``blocks.jsonl``; see `sparsebench.bench.machine.drift.Sentinel`.

    Returns:
        ``cpus`` that this process may use and ``all_cpus``; ``load1``, median of before and after
        the blocks; ``own_cpus`` and ``foreign_cpus``, how many processors the run and all others
        kept at work on average, None where the system does not tell.
    """
    lines = list(blocks)
    loads = [line[side].get("load1") for line in lines for side in ("before", "after")]
    known = [load for load in loads if load is not None]
    seconds, own, everything = 0.0, 0.0, 0.0
    for line in lines:
        before, after = line["before"], line["after"]
        values = [
            side.get(key) for side in (before, after) for key in ("own_seconds", "cpu_seconds")
        ]
        if None in values:
            continue
        seconds += after["at"] - before["at"]
        own += after["own_seconds"] - before["own_seconds"]
        everything += after["cpu_seconds"] - before["cpu_seconds"]
    return {
        "cpus": usable_cpus(),
        "all_cpus": os.cpu_count() or 1,
        "load1": median(known) if known else None,
        "own_cpus": own / seconds if seconds else None,
        "foreign_cpus": max(0.0, everything - own) / seconds if seconds else None,
    }


def busy_now() -> str | None:
    """What to say before a run starts where the load is above the processors; else None."""
    load, cpus = load_now()["load1"], os.cpu_count() or 1
    if load is None or load <= cpus:
        return None
    return (
        f"This machine is busy: its load is {load:.1f} on {_cpus(cpus)}. Times will be too long "
        "and their ratios may be wrong: quiet it first."
    )


def waited_share(trials: Iterable[Trial]) -> float | None:
    """Share of the time (0-1) that engines' threads could have run and waited for a processor."""
    could_run = waited = 0.0
    for trial in trials:
        if (
            described(trial.workload).engine_alone
            and trial.process_seconds
            and trial.run_delay_seconds
        ):
            mine = sum(trial.run_delay_seconds)
            waited += mine
            # An engine that sleeps could have run all the time as well.
            could_run += max(sum(trial.process_seconds) + mine, sum(trial.seconds))
    return waited / could_run if could_run else None


def computes(trial: Trial) -> bool:
    """Whether its threads ran, or waited for a processor, rather than slept or waited for data."""
    could_run = sum(trial.process_seconds or ()) + sum(trial.run_delay_seconds or ())
    return could_run > 0.5 * sum(trial.seconds)


def _apart(trials: Iterable[Trial]) -> float | None:
    """How far wall and process time of the median cell drift apart over its blocks, a factor."""
    ratios: dict[str, list[float]] = {}
    for trial in trials:
        spent = sum(trial.process_seconds or ())
        if spent > 0 and computes(trial):
            ratios.setdefault(trial.cell, []).append(sum(trial.seconds) / spent)
    drifts = [max(mine) / min(mine) for mine in ratios.values() if len(mine) > 1]
    return median(drifts) if drifts else None


def _middle(told: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [float(one[key]) for one in told if one.get(key) is not None]
    return median(values) if values else None


def _cpus(count: int) -> str:
    return "1 CPU" if count == 1 else f"{count} CPUs"
