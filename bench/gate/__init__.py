"""The gate: a run against a stored baseline, on ratios and accuracy."""

from sparsebench.bench.gate.baseline import (
    Baseline,
    BaselineCell,
    Limits,
    read_baseline,
    write_baseline,
)
from sparsebench.bench.gate.check import check_run
from sparsebench.bench.gate.report import CellVerdict, GateReport, Settings
from sparsebench.bench.gate.update import baseline_of

__all__ = [
    "Baseline",
    "BaselineCell",
    "CellVerdict",
    "GateReport",
    "Limits",
    "Settings",
    "baseline_of",
    "check_run",
    "read_baseline",
    "write_baseline",
]
