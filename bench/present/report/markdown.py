"""The report as Markdown, for a pull request or a README: answers, tables, the same facts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sparsebench.bench.machine.facts import describe_machine
from sparsebench.bench.present.decisions.amounts import points
from sparsebench.bench.present.decisions.sentences import Sentence
from sparsebench.bench.present.escape import markdown
from sparsebench.bench.present.report import grids, metadata_tables
from sparsebench.bench.present.report.build import Report

_MOST_LINES = 60


def markdown_page(report: Report) -> str:
    """The whole report; longer tables fold away."""
    lines = [f"# Which is fastest within {points(report.margin)}?", ""]
    for run in report.runs:
        machines = "; ".join(dict.fromkeys(map(describe_machine, run.machines.values())))
        lines.append(f"Run {markdown(run.label)}: measured {run.when} on {markdown(machines)}.")
    lines += [
        f"\n**Run {markdown(run.label)}: {markdown(run.busy.sentence)}**"
        for run in report.runs
        if run.busy
    ]
    for said in report.headlines(report.margin):
        lines += ["", f"**{markdown(said.title)}**: {_sentence(said.headline)}"]
        lines += [""] if said.remarks else []
        lines += [f"- {_sentence(remark)}" for remark in said.remarks]
    lines += ["", report.within]
    lines += [f"\n> **{markdown(one.warning)}**" for one in report.engines if one.warning]
    every = [*grids.cell_grids(report), *grids.mean_grids(report), *grids.training_grids(report)]
    every += [*metadata_tables.small_grids(report), *metadata_tables.forecast_grids(report)]
    for grid in every:
        lines += _grid(grid)
    if not report.cells:
        lines += ["", "Nothing was measured."]
    if report.differences:
        lines += _grid(metadata_tables.difference_grid(report))
    if report.beside:
        lines += _grid(metadata_tables.beside_grid(report))
    problems = metadata_tables.problem_grid(report)
    if problems.lines:
        lines += _grid(problems)
    else:
        lines += ["", f"## {problems.title}", "", "Nothing."]
    lines += _grid(metadata_tables.engine_grid(report))
    lines += _grid(metadata_tables.weight_grid(report))
    lines += _machines(report)
    lines += _commands(report)
    lines += ["", "## How to read it", "", report.reading]
    return "\n".join(lines) + "\n"


def _sentence(pieces: Sentence) -> str:
    return "".join(f"**{markdown(p.text)}**" if p.strong else _inside(p.text) for p in pieces)


def _inside(text: str) -> str:
    """A piece keeps the spaces at its ends."""
    start = " " if text[:1].isspace() else ""
    end = " " if text[-1:].isspace() and text.strip() else ""
    return f"{start}{markdown(text)}{end}"


def _grid(grid: grids.Grid) -> list[str]:
    titles = [markdown(column.title) for column in grid.columns]
    marks = ["---:" if column.numeric else "---" for column in grid.columns]
    rows = [
        [" ".join(filter(None, (markdown(e.text), markdown(e.spread)))) for e in line.entries]
        for line in grid.lines
    ]
    table = ["| " + " | ".join(cells) + " |" for cells in (titles, marks, *rows)]
    if len(rows) > _MOST_LINES:
        count = f"{len(rows)} rows"
        table = [f"<details><summary>{count}</summary>", "", *table, "", "</details>"]
    notes = [line for note in grid.notes for line in ("", markdown(note))]
    return ["", f"## {markdown(grid.title)}", "", *table, *notes]


def _machines(report: Report) -> list[str]:
    lines = ["", "## Packages", ""]
    for run in report.runs:
        packages = [f"{name} {version}" for name, version in run.packages.items()]
        prints = ", ".join(run.machines)
        lines.append(
            f"- {markdown(run.label)}: {markdown(', '.join(packages))}; "
            f"machine fingerprint {markdown(prints)}"
        )
    return lines


def _commands(report: Report) -> list[str]:
    lines = ["", "## Repeat it", ""]
    for run in report.runs:
        command = report.repeat(run)
        if command is None:
            lines += [
                f"{markdown(run.label)} has no plan.toml, so no command repeats it.",
                "",
            ]
            continue
        cells = [c.command for c in report.cells if c.run == run.label and c.command]
        lines += _fenced([command])
        lines += [
            "",
            f"<details><summary>each number of {markdown(run.label)}</summary>",
            "",
        ]
        lines += [*_fenced(dict.fromkeys(cells)), "", "</details>", ""]
    return lines[:-1] if lines[-1] == "" else lines


def _fenced(commands: Iterable[str]) -> list[str]:
    """A block of code that none of its lines can end."""
    lines = [line for command in commands for line in command.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", *lines, fence]
