"""What is paid once: export and compilation, apart from the clock and amortized.

No time in the other tables holds them (MEASUREMENT rule 16). Somebody who trains once pays them
once, somebody who trains every night shares them out: both are shown, as the ratio against the
dense baseline with all of the one-off costs of both sides (``first run``), and shared out over
:data:`USES` trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sparsebench.bench.present import escape
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.rows import Row, Section
from sparsebench.bench.records import Record
from sparsebench.bench.workloads import described

USES = 100
HEADER = ("backbone", "engine", "export s", "compile s", "first run", f"over {USES} runs")
CAPTION = (
    "One-off costs, excluded from the times above: export (loading, exporting, checking) and "
    "compilation or start of the engine, medians in seconds. 'First run': dense over sparse with "
    f"all of them paid by one run; 'over {USES} runs': amortized over {USES} runs. Points without "
    "interval."
)


@dataclass(frozen=True)
class OneOff:
    """Seconds that a cell pays once.

    Args:
        export: loading, exporting and checking.
        build: compiling or starting the engine, in a fresh process.
    """

    export: float
    build: float

    @property
    def seconds(self) -> float:
        """Both."""
        return self.export + self.build


def one_off(record: Record) -> OneOff | None:
    """The one-off costs of a record; None where it tells none."""
    export, build = (record.extra.get(f"{name}_seconds") for name in ("export", "compile"))
    if not export and not build:
        return None
    return OneOff(median(export or [0.0]), median(build or [0.0]))


def amortized(sparse: Row, dense: Row, uses: int) -> float | None:
    """Dense over sparse seconds of a training, one-off costs shared out over so many of them.

    None where one of the sides does not tell its costs.
    """
    ours, theirs = one_off(sparse.record), one_off(dense.record)
    if ours is None or theirs is None:
        return None
    return (dense.speed.mid + theirs.seconds / uses) / (sparse.speed.mid + ours.seconds / uses)


def one_off_cells(section: Section) -> list[tuple[str, ...]]:
    """One line a cell under :data:`HEADER`; none for workloads that are no whole job."""
    if not described(section.workload).whole_job:
        return []
    rows = {(row.record.backbone.name, row.engine): row for row in section.rows}
    lines = []
    for row in section.rows:
        cost = one_off(row.record)
        if cost is None:
            continue
        ratios = ["dense", "dense"]
        if not row.record.backbone.is_dense:
            dense = rows.get((str(row.record.backbone.dense_partner), row.engine))
            ratios = [_ratio(row, dense, uses) for uses in (1, USES)]
        costs = (f"{cost.export:.3g}", f"{cost.build:.3g}")
        lines.append((row.record.backbone.name, row.engine, *costs, *ratios))
    return lines


def _ratio(row: Row, dense: Row | None, uses: int) -> str:
    value = None if dense is None else amortized(row, dense, uses)
    return numbers.DASH if value is None else f"{value:.2f}×"


def one_off_lines(section: Section) -> Sequence[str]:
    """The table as Markdown; nothing where there is none."""
    cells = one_off_cells(section)
    if not cells:
        return ()
    head = [escape.markdown_row(HEADER), "| --- | --- |" + " ---: |" * 4]
    return ["", *head, *map(escape.markdown_row, cells), "", CAPTION]
