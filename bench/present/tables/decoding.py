"""What it takes to find boxes: the engine's call alone, and with decoding behind it."""

from __future__ import annotations

from statistics import fmean

from sparsebench.bench.present.table import DASH, Table
from sparsebench.bench.present.tables.numbers import TIMES, significant
from sparsebench.bench.present.tables.rows import PER_SECOND, Row, Section, row_table
from sparsebench.bench.records import DECODE_SECONDS, DETECTION, Record

HEADER = (
    PER_SECOND,
    "decoding ms",
    f"{PER_SECOND} with decoding and NMS",
    "vs dense, same engine, with decoding and NMS",
)
CAPTION = (
    "Decoding: from raw predictions to boxes, non-maximum suppression (NMS) included, milliseconds "
    "an image, of a trained network's predictions, on the cell's threads in PyTorch; no other "
    "table's speed includes it. With it: both one after the other, without an interval."
)


def decode_seconds_of(record: Record) -> float | None:
    """Seconds an image of decoding, the mean over seeds; None where nothing is decoded."""
    told = (record.extra.get(DETECTION) or {}).get(DECODE_SECONDS) or ()
    known = [float(one) for one in told if one is not None]
    return fmean(known) if known else None


def decoding_table(section: Section) -> Table | None:
    """One line a cell; None where nothing is decoded, or speeds are no throughputs."""
    if not section.throughput:
        return None
    whole = {row.record.id: seconds for row in section.rows if (seconds := _whole(row))}

    def cells(row: Row) -> tuple[str, ...] | None:
        seconds, decoding = whole.get(row.record.id), decode_seconds_of(row.record)
        if seconds is None or decoding is None:
            return None
        dense = whole.get(row.comparison.dense or "") if row.comparison else None
        return (
            significant(row.speed.mid),
            significant(1e3 * decoding),
            significant(1 / seconds),
            DASH if dense is None else f"{dense / seconds:.2f}{TIMES}",
        )

    return row_table(section, "with decoding", HEADER, cells, CAPTION)


def _whole(row: Row) -> float | None:
    """Seconds an image of a row's engine and of decoding, one after the other."""
    decoding = decode_seconds_of(row.record)
    return None if decoding is None else 1 / row.speed.mid + decoding
