"""What is paid once: export and compilation, apart from the clock and amortized.

No time in the other tables holds them (MEASUREMENT rule 16). Somebody who trains once pays them
once, somebody who trains every night shares them out: both are shown, as the ratio against the
dense baseline with all of the one-off costs of both sides (``first run``), and shared out over
:data:`USES` trainings.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from sparsebench.bench.plan.workloads import described
from sparsebench.bench.present.table import DASH, Table
from sparsebench.bench.present.tables.rows import Row, Section, row_table
from sparsebench.bench.records import Record

USES = 100
HEADER = ("export s", "compile s", "first run", f"over {USES} runs")
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


def one_off_table(section: Section) -> Table | None:
    """What each row pays once; None for workloads that are no whole job."""
    if not described(section.workload).whole_job:
        return None
    rows = {(row.record.backbone.name, row.engine): row for row in section.rows}

    def cells(row: Row) -> tuple[str, ...] | None:
        cost = one_off(row.record)
        if cost is None:
            return None
        ratios = ["dense", "dense"]
        if not row.record.backbone.is_dense:
            dense = rows.get((str(row.record.backbone.dense_partner), row.engine))
            ratios = [_ratio(row, dense, uses) for uses in (1, USES)]
        return f"{cost.export:.3g}", f"{cost.build:.3g}", *ratios

    return row_table(section, "one-off costs", HEADER, cells, CAPTION)


def _ratio(row: Row, dense: Row | None, uses: int) -> str:
    value = None if dense is None else amortized(row, dense, uses)
    return DASH if value is None else f"{value:.2f}×"
