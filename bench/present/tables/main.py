"""The table of a run: its cells, spelled out once for the terminal, the report and every file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparsebench.bench.comparisons import ONE_SEED, TOO_FEW_BLOCKS
from sparsebench.bench.present.table import DASH, Column, Entry, Line, Table
from sparsebench.bench.present.tables import numbers, theory
from sparsebench.bench.present.tables.gaps import said_once
from sparsebench.bench.present.tables.rows import Row, Section, facets_of
from sparsebench.bench.present.tables.wording import (
    BASELINE,
    BEST_DENSE,
    BEST_ENGINE,
    CHANGE,
    MINIMUM_EFFECT,
    REFERENCE,
    SAME_ENGINE,
    SPEED_ONLY,
    caption,
    seen_words,
    speed_header,
)
from sparsebench.bench.records import Delta, Estimate
from sparsebench.bench.tasks.kinds import word_of, worded

ACCURACY = "accuracy %"
SAID_BY_GAPS = (ONE_SEED, TOO_FEW_BLOCKS)
MEANINGS = {
    ACCURACY: "On the test images, with a 95% interval over images and training seeds.",
    CHANGE: "Percentage points against the dense baseline, paired by image and seed.",
    SAME_ENGINE: "The dense baseline's time over this one's on the same engine: what zeros buy.",
    BEST_ENGINE: "The fastest dense engine's time over this one's: what changing to this brings.",
    "verdict": "On 'vs dense, same engine', corrected for all comparisons of the run (Holm).",
    MINIMUM_EFFECT: "The smallest effect that a run of this noise usually finds.",
}


def main_table(
    title: str, sections: Sequence[Section], commands: Mapping[str, str | None] | None = None
) -> Table:
    """The cells of one workload.

    Args:
        title: above it.
        sections: at least one, of the same workload; of several each row names its task.
        commands: record id -> shell line that repeats it; none at all where a run has no plan.
    """
    several = len(sections) > 1
    word = word_of(row.record.task.metric for section in sections for row in section.rows)
    settings = dict.fromkeys(section.settings for section in sections if section.rows)
    notes = [f"{told}." for told in settings] if len(settings) == 1 else [
        f"{section.task}: {section.settings}." for section in sections if section.rows
    ]  # fmt: skip
    more = (note for section in sections for note in section.notes)
    notes += dict.fromkeys(note for note in more if not note.startswith(SAID_BY_GAPS))
    table = Table(
        title,
        (
            Column("backbone"), *([Column("task")] if several else []),
            Column("method", minor=True), Column("engine"),
            *(Column(worded(name, word), name != "verdict", MEANINGS.get(name, ""),
                     short=_SHORT.get(name, ""))
              for name in fields_of_header(sections[0])),
            *(Column(name, True, theory.MEANINGS[name], minor=True) for name in theory.HEADER),
        ),
        tuple(
            Line(
                (
                    Entry(row.record.backbone.name),
                    *([Entry(section.task)] if several else []),
                    Entry(row.record.backbone.method),
                    Entry(row.engine),
                    *fields(row).values(),
                    *theory.theory_entries(row),
                ),
                facets_of(section, row),
                (commands or {}).get(row.record.id),
            )
            for section in sections
            for row in section.rows
        ),
        (caption(sections[0]), *notes),
        grouped=True,
        commands=commands is not None,
    )  # fmt: skip
    return said_once(table)


_SHORT = {CHANGE: "change (pp)", MINIMUM_EFFECT: "MDE"}


def fields_of_header(section: Section) -> tuple[str, ...]:
    """Titles of :func:`fields`."""
    speed = speed_header(section)
    return ACCURACY, CHANGE, speed, SAME_ENGINE, BEST_ENGINE, "verdict", MINIMUM_EFFECT


def fields(row: Row) -> dict[str, Entry]:
    """Title -> what a cell's row says under it; its speed is under "speed"."""
    told, word = row.comparison, row.verdict or ""
    return {
        ACCURACY: accuracy_entry(row),
        CHANGE: change_entry(row),
        "speed": spread_entry(numbers.speed(row.speed), row.speed.mid),
        SAME_ENGINE: Entry(BASELINE, "", 1.0, "muted")
        if row.record.backbone.is_dense
        else ratio_entry(row.speedup, word),
        BEST_ENGINE: Entry(BEST_DENSE if row.best else REFERENCE, "", 1.0, "muted")
        if row.reference
        else ratio_entry(row.total, row.total_verdict or ""),
        "verdict": Entry(word, tone=word),
        MINIMUM_EFFECT: Entry(seen_words(row), sort=told.smallest_effect if told else None),
    }


def accuracy_entry(row: Row) -> Entry:
    """Accuracy in per cent with half its interval."""
    if not row.record.backbone.trained:
        return Entry(SPEED_ONLY, sort=None, tone="muted")
    if row.accuracy is None:
        return Entry(DASH, sort=None)
    return spread_entry(numbers.percent(row.accuracy), row.accuracy.mean)


def change_entry(row: Row) -> Entry:
    """Change of accuracy in points: it stands beside every ratio."""
    if not row.record.backbone.trained:
        return Entry(SPEED_ONLY, sort=None, tone="muted")
    if row.record.backbone.is_dense:
        return Entry(BASELINE, sort=0.0, tone="muted")
    return delta_entry(row.delta)


def delta_entry(delta: Delta | None) -> Entry:
    """A change in points with half its interval."""
    if delta is None:
        return Entry("unknown", sort=None, tone="muted")
    return spread_entry(numbers.points(delta), delta.mean)


def spread_entry(pair: tuple[str, str], sort: float) -> Entry:
    """A number with its interval."""
    return Entry(pair[0], pair[1], sort)


def ratio_entry(estimate: Estimate | None, tone: str = "") -> Entry:
    """A ratio and its interval: "2.41× (2.35–2.47)", in the tone of its verdict."""
    if estimate is None:
        return Entry(DASH, sort=None)
    point, spread = numbers.ratio(estimate)
    return Entry(point, f"({spread})", estimate.median, tone)
