"""Aggregates over tasks: geometric means of speed-ups and performance profiles.

Only for runs of two tasks or more. Ratios are averaged geometrically, never throughputs, and a
cell whose accuracy is unknown or whose weights are generated enters neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsebench.bench.comparisons import by_cell, run_times
from sparsebench.bench.present import escape
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.rows import engine_label, varying_settings
from sparsebench.bench.present.tables.wording import BEST_ENGINE, SAME_ENGINE
from sparsebench.bench.records import Comparison, Estimate, Record, Trial
from sparsebench.bench.statistics import geometric_mean
from sparsebench.bench.statistics.profiles import Profile, performance_profiles

FACTORS = (1.0, 1.25, 1.5, 2.0, 4.0)


@dataclass(frozen=True)
class OverTasks:
    """One workload over all tasks of a run.

    Args:
        workload: name.
        tasks: names.
        means: (backbone, engine) -> speed-up and total, geometric means over the tasks. The
            engine comes with what else differs between cells: precision, batch size, threads.
        profiles: of every (backbone, engine), dense ones too, best first.
    """

    workload: str
    tasks: tuple[str, ...]
    means: Mapping[tuple[str, str], tuple[Estimate, Estimate]]
    profiles: tuple[Profile, ...]


def over_tasks(
    records: Sequence[Record], trials: Sequence[Trial], comparisons: Sequence[Comparison]
) -> list[OverTasks]:
    """Aggregates of each workload that was measured on two tasks or more."""
    found = []
    for workload in dict.fromkeys(record.workload for record in records):
        mine = [r for r in records if r.workload == workload and r.backbone.trained]
        tasks = tuple(dict.fromkeys(record.task.name for record in mine))
        if len(tasks) < 2:
            continue
        varying = varying_settings(mine)
        engines = {record.id: engine_label(record, varying) for record in mine}
        means, profiles = _means(mine, comparisons, engines), _profiles(mine, trials, engines)
        found.append(OverTasks(workload, tasks, means, tuple(profiles)))
    return found


def markdown(found: Sequence[OverTasks]) -> str:
    """The aggregates as Markdown; empty where there are none."""
    lines: list[str] = []
    for one in found:
        lines += ["", f"## {escape.markdown(one.workload)} over {len(one.tasks)} tasks", ""]
        lines += ["Geometric means of the tasks' ratios, 95 % interval over tasks.", ""]
        lines += [
            f"| backbone | engine | {SAME_ENGINE} | {BEST_ENGINE} |",
            "| --- | --- | ---: | ---: |",
        ]
        for (backbone, engine), estimates in one.means.items():
            cells = [f"{point} ({spread})" for point, spread in map(numbers.ratio, estimates)]
            lines.append(escape.markdown_row((backbone, engine, *cells)))
        lines += ["", "Performance profile: share of tasks within a factor of the fastest.", ""]
        heads = " | ".join(f"{factor:g}×" for factor in FACTORS)
        lines += [f"| backbone on engine | {heads} |", "| --- |" + " ---: |" * len(FACTORS)]
        for profile in one.profiles:
            shares = " | ".join(f"{profile.within(factor):.0%}" for factor in FACTORS)
            lines.append(f"| {escape.markdown(profile.name)} | {shares} |")
    return "\n".join(lines) + "\n" if lines else ""


def _means(
    records: Sequence[Record], comparisons: Sequence[Comparison], engines: Mapping[str, str]
) -> dict[tuple[str, str], tuple[Estimate, Estimate]]:
    known = {record.id: record for record in records}
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        record = known.get(comparison.sparse)
        complete = comparison.speedup and comparison.total and comparison.accuracy_delta
        if record is not None and complete and comparison.trained:
            key = (record.backbone.name, engines[record.id])
            groups.setdefault(key, []).append(comparison)
    return {
        key: (
            _mean([c.speedup.median for c in group if c.speedup]),
            _mean([c.total.median for c in group if c.total]),
        )
        for key, group in groups.items()
        if len(group) > 1
    }


def _mean(ratios: Sequence[float]) -> Estimate:
    mean = geometric_mean(ratios)
    return Estimate(mean.median, mean.ci95, mean.blocks)


def _profiles(
    records: Sequence[Record], trials: Sequence[Trial], engines: Mapping[str, str]
) -> list[Profile]:
    times = run_times(records, by_cell(trials))
    seconds: dict[str, dict[str, float | None]] = {}
    for record in records:
        name = f"{record.backbone.name} on {engines[record.id]}"
        level = times[record.id].level.mid if record.id in times else None
        seconds.setdefault(name, {})[record.task.name] = level
    return performance_profiles(seconds)
