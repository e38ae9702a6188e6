"""One page of many machines' runs: ratios only, a column a machine, none compared with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.machine.facts import describe_machine
from sparsebench.bench.present.table import Column, Entry, Line, Table
from sparsebench.bench.present.tables import sections
from sparsebench.bench.present.tables.main import change_entry, ratio_entry
from sparsebench.bench.present.tables.rows import Row
from sparsebench.bench.present.tables.wording import BEST_ENGINE, CHANGE, SAME_ENGINE
from sparsebench.bench.records import RunFolder
from sparsebench.bench.tasks.kinds import word_of, worded
from sparsebench.models.errors import NothingMeasuredError


@dataclass(frozen=True)
class Placed:
    """A network on an engine, on one machine, from its newest run there."""

    run: str
    row: Row

    @property
    def order(self) -> float:
        """The speed-up that it is ranked by."""
        estimate = self.row.total or self.row.speedup
        return 0.0 if estimate is None else estimate.median


Board = dict[tuple[str, str], dict[str, Placed]]
"""(backbone, engine and settings) -> machine's fingerprint -> place; the best first."""


@dataclass(frozen=True)
class Leaderboard:
    """Machines by fingerprint, and a board for each workload and task."""

    machines: dict[str, str]
    boards: dict[str, Board]

    def tables(self) -> list[Table]:
        """One a board; three columns for each machine that has run some of it."""
        return [
            Table(
                title,
                self._columns(board),
                tuple(self._line(*names, board[names]) for names in board),
            ).filled()
            for title, board in self.boards.items()
        ]

    def _columns(self, board: Board) -> tuple[Column, ...]:
        word = word_of(
            one.row.record.task.metric for places in board.values() for one in places.values()
        )
        columns = [Column("backbone"), Column("engine")]
        for number, machine in enumerate(self.machines.values(), start=1):
            columns += [
                Column(f"machine {number}: {title}", True, machine, minor=title == SAME_ENGINE)
                for title in (BEST_ENGINE, SAME_ENGINE, worded(CHANGE, word))
            ]
        return tuple(columns)

    def _line(self, backbone: str, engine: str, places: dict[str, Placed]) -> Line:
        entries = [Entry(backbone), Entry(engine)]
        for machine in self.machines:
            row = places[machine].row if machine in places else None
            if row is None:
                entries += [Entry("", sort=None)] * 3
            else:
                change = change_entry(row)
                entries += [ratio_entry(row.total), ratio_entry(row.speedup), change]
        return Line(tuple(entries))


def leaderboard(folders: Sequence[RunFolder]) -> Leaderboard:
    """Merge runs by the fingerprint of their machines; of several runs of a cell the newest counts.

    Raises:
        NothingMeasuredError: no run holds a sparse cell with its dense baseline.
    """
    machines: dict[str, str] = {}
    boards: dict[str, Board] = {}
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
                place[fingerprint] = Placed(folder.name, row)
    if not boards:
        raise NothingMeasuredError(
            "These runs hold no sparse network with its dense baseline.",
            "`sparsebench run quick` measures some.",
        )
    return Leaderboard(machines, {title: _ranked(board) for title, board in boards.items()})


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


def _ranked(board: Board) -> Board:
    best = {names: max(one.order for one in places.values()) for names, places in board.items()}
    return {names: board[names] for names in sorted(board, key=lambda names: -best[names])}
