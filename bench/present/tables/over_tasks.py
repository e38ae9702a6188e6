"""Aggregates over tasks: geometric means of speed-ups and performance profiles.

Only for runs of two tasks or more. Ratios are averaged geometrically, never throughputs, and a
cell whose accuracy is unknown or whose weights are generated enters neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsebench.bench.comparisons import by_cell, run_times
from sparsebench.bench.present.table import Column, Entry, Line, Table
from sparsebench.bench.present.tables.cell_labels import engine_label, varying_settings
from sparsebench.bench.present.tables.gaps import said_once
from sparsebench.bench.present.tables.main import delta_entry, ratio_entry
from sparsebench.bench.present.tables.wording import BEST_ENGINE, CHANGE, SAME_ENGINE
from sparsebench.bench.records import Comparison, Delta, Estimate, Record, Trial
from sparsebench.bench.statistics import geometric_mean
from sparsebench.bench.statistics.profiles import Profile, performance_profiles
from sparsebench.bench.tasks.kinds import word_of, worded

MEANS = "Geometric means of the tasks' ratios, 95% intervals over tasks."
FACTORS = (1.0, 1.25, 1.5, 2.0, 4.0)


@dataclass(frozen=True)
class OverTasks:
    """One workload over all tasks of a run.

    Args:
        workload: name.
        tasks: names.
        means: (backbone, engine) -> speed-up and total, geometric means over the tasks. The
            engine comes with what else differs between cells: precision, batch size, threads.
        worst: (backbone, engine) -> the worst accuracy change of the tasks, and its task.
        profiles: of every (backbone, engine), dense ones too, best first.
        word: what the tasks' scores are called.
    """

    workload: str
    tasks: tuple[str, ...]
    means: Mapping[tuple[str, str], tuple[Estimate, Estimate]]
    worst: Mapping[tuple[str, str], tuple[Delta, str]]
    profiles: tuple[Profile, ...]
    word: str


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
        means, worst = _means(mine, comparisons, engines)
        profiles = tuple(_profiles(mine, trials, engines))
        word = word_of(record.task.metric for record in mine)
        found.append(OverTasks(workload, tasks, means, worst, profiles, word))
    return found


def means_table(one: OverTasks) -> Table:
    """Geometric means over the tasks, beside the worst accuracy change of the tasks."""
    lines = tuple(
        Line(
            (
                Entry(backbone), Entry(engine), *map(ratio_entry, estimates),
                delta_entry(one.worst[backbone, engine][0]),
                Entry(one.worst[backbone, engine][1]),
            ),
            {"workload": one.workload, "engine": engine.split()[0]},
        )
        for (backbone, engine), estimates in one.means.items()
    )  # fmt: skip
    titles = (
        "backbone",
        "engine",
        SAME_ENGINE,
        BEST_ENGINE,
        f"worst {worded(CHANGE, one.word)}",
        "worst on",
    )
    columns = tuple(Column(name, 2 <= place < 5) for place, name in enumerate(titles))
    title = f"{one.workload} over {len(one.tasks)} tasks"
    return said_once(Table(title, columns, lines, (MEANS,)))


def profile_table(one: OverTasks) -> Table:
    """Share of the tasks on which a cell is within a factor of the fastest."""
    return Table.of(
        f"Performance profile: {one.workload} over {len(one.tasks)} tasks",
        ("backbone on engine", *(f"{factor:g}×" for factor in FACTORS)),
        [(p.name, *(f"{p.within(factor):.0%}" for factor in FACTORS)) for p in one.profiles],
        "Share of tasks within a factor of the fastest.",
    )


def _means(
    records: Sequence[Record], comparisons: Sequence[Comparison], engines: Mapping[str, str]
) -> tuple[
    dict[tuple[str, str], tuple[Estimate, Estimate]], dict[tuple[str, str], tuple[Delta, str]]
]:
    known = {record.id: record for record in records}
    groups: dict[tuple[str, str], list[tuple[Estimate, Estimate, Delta, str]]] = {}
    for one in comparisons:
        record, delta = known.get(one.sparse), one.accuracy_delta
        if record is not None and one.trained and one.speedup and one.total and delta:
            group = groups.setdefault((record.backbone.name, engines[record.id]), [])
            group.append((one.speedup, one.total, delta, record.task.name))
    several = {key: list(zip(*group, strict=True)) for key, group in groups.items() if group[1:]}
    means = {
        key: (_mean([e.median for e in speedups]), _mean([e.median for e in totals]))
        for key, (speedups, totals, _, _) in several.items()
    }
    worst = {
        key: min(zip(deltas, tasks, strict=True), key=lambda pair: pair[0].mean)
        for key, (_, _, deltas, tasks) in several.items()
    }
    return means, worst


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
