"""summary.md."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.bench.machine.busy import Busy
from sparsebench.bench.machine.facts import describe_machine
from sparsebench.bench.present import escape
from sparsebench.bench.present.tables import numbers, theory
from sparsebench.bench.present.tables.forecasts import Total, forecast_lines
from sparsebench.bench.present.tables.head import head_lines
from sparsebench.bench.present.tables.one_off import one_off_lines
from sparsebench.bench.present.tables.resources import resource_lines
from sparsebench.bench.present.tables.rows import Row, Section
from sparsebench.bench.present.tables.training import markdown_lines
from sparsebench.bench.present.tables.wording import (
    BASELINE,
    BEST_DENSE,
    BEST_ENGINE,
    CHANGE,
    MINIMUM_EFFECT,
    SAME_ENGINE,
    SPEED_ONLY,
    caption,
    how_to_read,
    seen_words,
    speed_header,
    warnings,
)
from sparsebench.bench.records import Record


def summary_markdown(
    name: str,
    found: Sequence[Section],
    records: Sequence[Record],
    total: Total | None = None,
    closing: Sequence[str] = (),
    busy: Busy | None = None,
) -> str:
    """The run as Markdown.

    Args:
        name: of the run.
        found: its tables.
        records: all of the run, for the machine and the warnings.
        total: seconds of the whole run, predicted and measured.
        closing: which variant to take (`sparsebench.bench.present.decisions.closing_lines`).
        busy: how busy its machine was, if it was.
    """
    lines = [f"# {escape.markdown(name)}", ""]
    if busy is not None:
        lines += [f"**{escape.markdown(busy.sentence)}**", ""]
    machines = dict.fromkeys(describe_machine(record.machine) for record in records)
    lines += [f"Measured on {escape.markdown(machine)}." for machine in machines]
    for section in found:
        lines += ["", f"## {escape.markdown(f'{section.workload} on {section.task}')}", ""]
        lines += [f"{escape.markdown(section.settings)}.", ""]
        if section.rows:
            lines += [*_table(section), "", caption(section)]
            lines += [f"\n> {escape.markdown(note)}" for note in section.notes]
            lines += [*markdown_lines(section), *head_lines(section)]
            lines += resource_lines(section)
            lines += one_off_lines(section)
        else:
            lines.append("Nothing was measured.")
        if section.missing:
            lines += ["", "Without numbers:", ""]
            lines += [
                f"- {escape.markdown_code(name)}: {escape.markdown(reason)}"
                for name, reason in section.missing
            ]
    if closing:
        lines += ["", f"## {escape.markdown(closing[0])}", ""]
        lines += [f"- {escape.markdown(line)}" for line in closing[1:]]
    if any(section.rows for section in found):
        lines += ["", f"{how_to_read(found)} {theory.READING}"]
    lines += forecast_lines(found, total)
    for text in warnings(records):
        lines += ["", f"**{text}**"]
    return "\n".join(lines) + "\n"


def _table(section: Section) -> list[str]:
    header = [
        "backbone", "engine", "accuracy %", CHANGE, speed_header(section),
        SAME_ENGINE, BEST_ENGINE, "verdict", MINIMUM_EFFECT, *theory.HEADER,
    ]  # fmt: skip
    marks = ["---", "---", *["---:"] * 5, "---", *["---:"] * 4]
    rows = [escape.markdown_row(_cells(row)) for row in section.rows]
    return [escape.markdown_row(header), f"| {' | '.join(marks)} |", *rows]


def _cells(row: Row) -> list[str]:
    trained, dense = row.record.backbone.trained, row.record.backbone.is_dense
    accuracy = " ".join(numbers.percent(row.accuracy)) if row.accuracy else numbers.DASH
    change = " ".join(numbers.points(row.delta)) if row.delta else numbers.DASH
    if dense:
        change = BASELINE
    return [
        row.record.backbone.name,
        row.engine,
        accuracy if trained else SPEED_ONLY,
        change if trained else SPEED_ONLY,
        " ".join(numbers.speed(row.speed)),
        BASELINE if dense else _bracketed(numbers.ratio(row.speedup) if row.speedup else None),
        BEST_DENSE if row.best else _bracketed(numbers.ratio(row.total) if row.total else None),
        row.verdict or "",
        seen_words(row),
        *theory.theory_cells(row),
    ]


def _bracketed(pair: tuple[str, str] | None) -> str:
    return numbers.DASH if pair is None else f"{pair[0]} ({pair[1]})"
