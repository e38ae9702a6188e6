"""Cells of the synthetic run that the tests speak of, and how to find them."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.bench.records import Comparison, Record
from tests.bench.synthetic import SyntheticRun

ACDC = "resnet18/acdc-90"
DENSE = "resnet18/dense"


def of(run: SyntheticRun, compared: list[Comparison], *cell: str) -> Comparison:
    record = run.record(*cell)
    return next(c for c in compared if c.sparse == record.id)


def with_precision(record: Record, precision: str, suffix: str) -> Record:
    engine = replace(record.engine, precision=precision)
    return replace(record, id=record.id + suffix, engine=engine, division="open")
