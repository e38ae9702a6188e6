"""What stands below a table: cells that are missing, the best dense options, caveats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.comparisons import GENERATED
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.cell_labels import engine_label
from sparsebench.bench.records import Comparison, Record

if TYPE_CHECKING:
    from sparsebench.bench.present.tables.rows import Row


def missing_cells(
    group: Sequence[Record], compared: Mapping[str, Comparison], varying: Sequence[str]
) -> list[tuple[str, str]]:
    """Cells without a number or a comparison, each with its reason."""
    failed = {record.id for record in group if record.status != "ok"}
    missing = []
    for record in group:
        name = f"{record.backbone.name} on {engine_label(record, varying)}"
        comparison = compared.get(record.id)
        if record.status != "ok":
            missing.append((name, f"{record.status}: {record.reason}"))
        elif comparison is not None and comparison.status != "ok":
            known = comparison.dense in failed  # its own line says why
            reason = "its dense baseline was not measured" if known else comparison.reason
            missing.append((name, f"no comparison: {reason}"))
    return missing


def hurdles(rows: Sequence[Row]) -> list[str]:
    """The best dense options, each named: of all precisions, and of fp32 alone."""
    dense = {row.record.id: row for row in rows if row.record.backbone.is_dense}
    found = []
    for best in (row for row in dense.values() if row.best):
        mine = [
            (row, compared, dense[compared.best_fp32_dense])
            for row in rows
            if (compared := row.comparison) is not None
            and compared.best_dense == best.record.id
            and compared.total_fp32 is not None
            and compared.best_fp32_dense in dense
        ]
        told = [(compared.total_fp32, row, fp32) for row, compared, fp32 in mine]
        if not told:
            continue
        ratio, row, fp32 = max(told, key=lambda one: one[0].median if one[0] else 0.0)
        name = f"{best.record.backbone.name} on {best.engine}"
        if fp32 is best or ratio is None:
            found.append(f"Best dense, in fp32 too: {name}.")
            continue
        point, spread = numbers.ratio(ratio)
        found.append(
            f"Best dense: {name}. Best fp32 dense: {fp32.record.backbone.name} on {fp32.engine}; "
            f"{row.record.backbone.name} on {row.engine} is {point} ({spread}) as fast as that."
        )
    return found


def caveats(rows: Sequence[Row]) -> list[str]:
    """Each caveat once, with the cells it is about, unless it is about most of them."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for note in row.comparison.notes if row.comparison else ():
            if note != GENERATED:  # the table says so itself
                about.setdefault(note, []).append(f"{row.record.backbone.name} on {row.engine}")
    return [f"{note} ({_first_few(cells)})" for note, cells in about.items()]


def _first_few(cells: Sequence[str], most: int = 3) -> str:
    return ", ".join(cells) if len(cells) <= most else f"{len(cells)} cells"
