"""The report as Markdown, for a pull request or a README: answers, tables, the same facts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sparsebench.bench.machine.facts import describe_machine
from sparsebench.bench.present.decisions.amounts import points
from sparsebench.bench.present.decisions.sentences import Sentence
from sparsebench.bench.present.escape import markdown
from sparsebench.bench.present.report.build import Report
from sparsebench.bench.present.report.contents import every_table, problem_table
from sparsebench.bench.present.table import markdown as table_lines


def markdown_page(report: Report) -> str:
    """The whole report; longer tables fold away."""
    lines = [f"# Which is fastest within {points(report.margin)}?", ""]
    for run in report.runs:
        if run.busy:
            whose = f"Run {run.label}: " if len(report.runs) > 1 else ""
            lines += [f"**{markdown(whose + run.busy.sentence)}**", ""]
    for run in report.runs:
        machines = "; ".join(dict.fromkeys(map(describe_machine, run.machines.values())))
        lines.append(f"Run {markdown(run.label)}: measured {run.when} on {markdown(machines)}.")
    for said in report.headlines(report.margin):
        lines += ["", f"**{markdown(said.title)}**: {_sentence(said.headline)}"]
        lines += [""] if said.remarks else []
        lines += [f"- {_sentence(remark)}" for remark in said.remarks]
    lines += ["", report.within]
    lines += [f"\n> **{markdown(one.warning)}**" for one in report.engines if one.warning]
    lines += [f"\n> {markdown(text)}" for text in report.left_out]
    for table in every_table(report):
        lines += table_lines(table)
    if not report.cells:
        lines += ["", "Nothing was measured."]
    if not report.problems:
        lines += ["", f"## {problem_table(report).title}", "", "Nothing."]
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
