"""Who wins: for each workload the backbone that takes least time, and the most accurate one.

Over several tasks times are averaged geometrically and changes of accuracy arithmetically, and
only what was measured on all of them competes. A winner whose interval meets that of the next is
named together with it: the run does not set them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.rows import Row, Section
from sparsebench.bench.records import Delta, Estimate
from sparsebench.bench.statistics import geometric_mean

MOST_NAMED = 3


@dataclass(frozen=True)
class Place:
    """One competitor in one of the two rankings.

    Args:
        name: backbone, and engine where time is ranked.
        value: greater is better: ratio to the best dense time, or points against dense.
        spans: task -> 95 % interval of its value; None where it has none.
        dense: whether it is the dense backbone.
        words: its value with its interval.
    """

    name: str
    value: float
    spans: dict[str, tuple[float, float] | None]
    dense: bool
    words: str

    def meets(self, other: Place) -> bool:
        """Whether the intervals of two competitors overlap on some task, or one has none."""
        for task, mine in self.spans.items():
            theirs = other.spans[task]
            if mine is None or theirs is None:
                return True
            if mine[0] <= theirs[1] and theirs[0] <= mine[1]:
                return True
        return False


def winner_lines(found: Sequence[Section]) -> list[str]:
    """One sentence on time and one on accuracy for each workload with a trained sparse network."""
    lines = []
    for (workload, arch), sections in _workloads(found).items():
        where = workload if len(_archs(found)) < 2 else f"{workload}, {arch}"
        rows = {s.task: [r for r in s.rows if _competes(r, arch)] for s in sections}
        time = _ranked(_times(rows), len(rows))
        change = _ranked(_changes(rows), len(rows))
        if any(not place.dense for place in time):
            lines.append(f"{where}: on time, {_sentence(time, 'is faster')}")
        if any(not place.dense for place in change):
            lines.append(f"{where}: on accuracy, {_sentence(change, 'is more accurate')}")
    return lines


def _workloads(found: Sequence[Section]) -> dict[tuple[str, str], list[Section]]:
    groups: dict[tuple[str, str], list[Section]] = {}
    for section in found:
        for arch in dict.fromkeys(row.arch for row in section.rows):
            groups.setdefault((section.workload, arch), []).append(section)
    return groups


def _archs(found: Sequence[Section]) -> set[str]:
    return {row.arch for section in found for row in section.rows}


def _competes(row: Row, arch: str) -> bool:
    return row.arch == arch and row.record.backbone.trained


def _times(rows: dict[str, list[Row]]) -> Iterable[tuple[str, str, Row, Estimate]]:
    for task, mine in rows.items():
        for row in mine:
            total = Estimate(1.0, (1.0, 1.0), row.speed.count) if row.best else row.total
            if total is not None:
                yield f"{row.short_name} on {row.engine}", task, row, total


def _changes(rows: dict[str, list[Row]]) -> Iterable[tuple[str, str, Row, Delta]]:
    """One row of each backbone and task: accuracies of engines differ by rounding alone."""
    for task, mine in rows.items():
        for name, group in groupby(mine, key=lambda row: row.short_name):
            for row in group:
                delta = Delta(0.0, (0.0, 0.0)) if row.record.backbone.is_dense else row.delta
                if delta is not None and row.accuracy is not None:
                    yield name, task, row, delta
                    break


def _ranked(entries: Iterable[tuple[str, str, Row, Estimate | Delta]], tasks: int) -> list[Place]:
    by_name: dict[str, dict[str, tuple[Row, Estimate | Delta]]] = {}
    for name, task, row, value in entries:
        by_name.setdefault(name, {})[task] = (row, value)
    places = [_place(name, found) for name, found in by_name.items() if len(found) == tasks]
    return sorted(places, key=lambda place: -place.value)


def _place(name: str, found: dict[str, tuple[Row, Estimate | Delta]]) -> Place:
    row, first = next(iter(found.values()))
    values = [value for _, value in found.values()]
    if isinstance(first, Estimate):
        means = [value.median for value in values if isinstance(value, Estimate)]
        mean = geometric_mean(means).median if len(means) > 1 else means[0]
        words, spread = numbers.ratio(Estimate(mean, first.ci95, first.blocks))
        each = [numbers.ratio(v)[0] for v in values if isinstance(v, Estimate)]
    else:
        mean = fmean(value.mean for value in values if isinstance(value, Delta))
        words, spread = numbers.points(Delta(mean, first.ci95))
        each = [numbers.points(v)[0] for v in values if isinstance(v, Delta)]
    if len(found) > 1:
        spread = ", ".join(f"{task} {one}" for task, one in zip(found, each, strict=True))
    return Place(
        name=name,
        value=mean,
        spans={task: value.ci95 for task, (_, value) in found.items()},
        dense=row.record.backbone.is_dense,
        words=f"{words} ({spread})",
    )


def _sentence(places: Sequence[Place], better: str) -> str:
    first, rest = places[0], places[1:]
    unit = "of the best dense" if better == "is faster" else "points against dense"
    if first.dense:
        nearest = next((place for place in rest if not place.dense), None)
        told = f"; the nearest is {nearest.name}, {nearest.words} {unit}" if nearest else ""
        return f"no sparse network {better} than {first.name}{told}."
    return f"{first.name} wins: {first.words} {unit}{_ties(first, rest)}."


def _ties(first: Place, rest: Sequence[Place]) -> str:
    if rest and None in first.spans.values():
        return "; without an interval nothing is set apart"
    names = [place.name for place in rest if first.meets(place)]
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"; not set apart from {', '.join(names[:MOST_NAMED])}{more}"
