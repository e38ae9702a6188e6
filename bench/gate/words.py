"""The gate's verdicts in words, and the command that repeats one cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsebench.bench.comparisons.gated_ratios import engine_of
from sparsebench.bench.gate.report import BLIND, NOT_HERE, CellVerdict, GateReport
from sparsebench.bench.plan.rerun_command import run_words
from sparsebench.bench.present import escape
from sparsebench.bench.present.tables.numbers import MINUS, share

MARKS = {
    "same": "no change",
    "better": "better",
    "blind": "inconclusive",
    "regressed": "REGRESSED",
    "failed": "FAILED",
    "missing": "MISSING",
    "new": "new",
    NOT_HERE: "not here",
}
_KINDS = {"speedup": "speed-up", "engines": "against other engines", "times": "base over head"}
# A repetition is there to be sure, so it takes more blocks than the run did.
MORE_BLOCKS = 5


@dataclass(frozen=True)
class Line:
    """One verdict as text, for every form of output."""

    name: str
    short: str
    mark: str
    kind: str
    before: str
    now: str
    change: str
    accuracy: str
    mde: str


def line_of(verdict: CellVerdict) -> Line:
    """A verdict's numbers as text."""
    change = verdict.change
    return Line(
        name=verdict.name,
        short=f"{verdict.key['backbone']} on {engine_of(verdict.key, verdict.varying)}",
        mark=MARKS[verdict.status],
        kind=_KINDS[verdict.kind],
        before="" if verdict.before is None else f"{verdict.before.median:.2f}×",
        now="" if verdict.now is None else f"{verdict.now.median:.2f}×",
        change="" if change is None else f"{percent(change.ratio)} ({interval(verdict)})",
        accuracy=(
            ""
            if verdict.accuracy_change is None
            else f"{verdict.accuracy_change.mid:+.2f}".replace("-", MINUS)
        ),
        mde="" if change is None else share(change.smallest_effect),
    )


def percent(ratio: float) -> str:
    """A ratio as a signed change in per cent."""
    return f"{(ratio - 1) * 100:+.1f} %".replace("-", MINUS)


def interval(verdict: CellVerdict) -> str:
    """The 95 % interval of a change in per cent."""
    if verdict.change is None or verdict.change.ci95 is None:
        return "no interval"
    low, high = (percent(end).removesuffix(" %") for end in verdict.change.ci95)
    return f"{low} to {high}"


def details(verdict: CellVerdict, report: GateReport, baseline: Path) -> list[str]:
    """What to say below the table about a cell that fails: why, what moved, how to repeat."""
    lines = [*verdict.reasons, *(f"inconclusive: {what}" for what in verdict.unknown)]
    lines += [f"moved: {what}" for what in verdict.moved]
    if verdict.status != "new":
        again = verdict.repeat or repeat_command(verdict, report, baseline)
        lines.append(f"repeat: {again}")
    return lines


def repeat_command(verdict: CellVerdict, report: GateReport, baseline: Path) -> str:
    """A shell line that measures this cell and its references again, and checks it."""
    folder = Path(report.run)
    again = f"{folder}-again"
    key = verdict.key
    against = verdict.against if verdict.kind == "engines" else ()
    words = run_words(
        folder,
        workload=key["workload"],
        task=str(key["task"]),
        backbone=key["backbone"],
        engines=[(engine, key["precision"]) for engine in (key["engine"], *against)],
        settings={name: key[name] for name in ("batch_size", "threads")},
    )
    blocks = verdict.now.blocks if verdict.now else 0
    words += ["--repeats", str(max(MORE_BLOCKS, 2 * blocks)), "--out", again]
    check = ["sparsebench", "check", again, "--baseline", str(baseline), "--only"]
    check.append(f"{key['workload']} .* {key['backbone']} · {key['engine']}$")
    return f"{escape.shell(words)} && {escape.shell(check)}"


def spoken_of(report: GateReport) -> list[CellVerdict]:
    """Verdicts that need more than their line in the table."""
    return [v for v in report.verdicts if report.fails(v) or v.status == BLIND]


def headline(report: GateReport) -> str:
    """The whole check in one sentence."""
    failing = len(report.failing)
    total = sum(verdict.status != NOT_HERE for verdict in report.verdicts)
    blind = len(report.blind)
    if failing:
        counted = report.settings.inconclusive == "fail"
        unseen = f"; inconclusive in {blind} more" if blind and not counted else ""
        return f"{failing} of {total} cells failed{unseen}"
    if not blind:
        return f"no regression in {total} cells"
    rest = f"; no regression in the other {total - blind}" if blind < total else ""
    let = ", which --inconclusive pass lets through" if report.exit_code == 0 else ""
    return (
        f"inconclusive in {blind} of {total} cells{let} (more blocks, seeds or images tell "
        f"more){rest}"
    )
