"""One page of many machines' runs: ratios only, a column a machine, none compared with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.machine.facts import describe_machine
from sparsebench.bench.present.tables import sections
from sparsebench.bench.present.tables.rows import Row
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import NothingMeasuredError


@dataclass(frozen=True)
class Entry:
    """A network on an engine, on one machine, from its newest run there.

    Attributes:
        run: its name.
        speedup: against the dense baseline on the same engine: median and interval, as text.
        total: against the best dense engine of its run, as text.
        change: of accuracy, in percentage points, as text.
        order: the median speed-up against the best dense engine, for sorting.
    """

    run: str
    speedup: str
    total: str
    change: str
    order: float


@dataclass(frozen=True)
class Board:
    """One workload on one task.

    Attributes:
        title: both.
        rows: (backbone, engine and settings) -> machine's fingerprint -> entry; the best first.
    """

    title: str
    rows: dict[tuple[str, str], dict[str, Entry]]


@dataclass(frozen=True)
class Leaderboard:
    """All boards, and the machines by fingerprint."""

    machines: dict[str, str]
    boards: list[Board]


def leaderboard(folders: Sequence[RunFolder]) -> Leaderboard:
    """Merge runs by the fingerprint of their machines; of several runs of a cell the newest counts.

    Raises:
        NothingMeasuredError: no run holds a sparse cell with its dense baseline.
    """
    machines: dict[str, str] = {}
    boards: dict[str, dict[tuple[str, str], dict[str, Entry]]] = {}
    for folder in sorted(folders, key=_when):
        records, trials = folder.records(), folder.trials()
        for section in sections(records, trials, compare_run(records, trials)):
            for row in section.rows:
                if row.record.backbone.is_dense or row.speedup is None:
                    continue
                machine = row.record.machine
                fingerprint = str(machine.get("fingerprint"))
                machines[fingerprint] = describe_machine(machine)
                board = boards.setdefault(f"{section.workload} on {section.task}", {})
                place = board.setdefault((row.record.backbone.name, _engine(row)), {})
                place[fingerprint] = _entry(folder.name, row)
    if not boards:
        raise NothingMeasuredError(
            "These runs hold no sparse network with its dense baseline.",
            "`sparsebench run quick` measures some.",
        )
    return Leaderboard(machines, [Board(title, _ranked(rows)) for title, rows in boards.items()])


def leaderboard_page(found: Leaderboard) -> str:
    """As HTML, in the report's style; it asks the network for nothing."""
    from markupsafe import Markup

    from sparsebench.bench.present.report.page import asset, policy, templates

    page = templates().get_template("leaderboard.html.j2")
    return page.render(board=found, policy=policy([]), css=Markup(asset("report.css")))


def _when(folder: RunFolder) -> str:
    return max((record.created for record in folder.records()), default="")


def _engine(row: Row) -> str:
    engine = row.record.engine
    return f"{engine.label}, batch {engine.batch_size}, {engine.threads} threads"


def _entry(run: str, row: Row) -> Entry:
    assert row.speedup is not None
    total = row.total
    return Entry(
        run=run,
        speedup=_ratio(row.speedup.median, row.speedup.ci95),
        total="" if total is None else _ratio(total.median, total.ci95),
        change="not measured" if row.delta is None else f"{row.delta.mean:+.1f} pp",
        order=row.speedup.median if total is None else total.median,
    )


def _ratio(median: float, ends: tuple[float, float] | None) -> str:
    interval = "" if ends is None else f" ({ends[0]:.2f}–{ends[1]:.2f})"
    return f"{median:.2f}×{interval}"


def _ranked(
    rows: dict[tuple[str, str], dict[str, Entry]],
) -> dict[tuple[str, str], dict[str, Entry]]:
    def best(item: tuple[tuple[str, str], dict[str, Entry]]) -> float:
        return -max(entry.order for entry in item[1].values())

    return dict(sorted(rows.items(), key=best))
