"""What a run leaves behind: trials, records and comparisons, their schemas and their folder."""

from sparsebench.bench.records.comparison import (
    Comparison,
    Delta,
    EffectIntervals,
    Effects,
    Estimate,
)
from sparsebench.bench.records.folder import RunFolder
from sparsebench.bench.records.ids import cell_id, utc_now
from sparsebench.bench.records.record import (
    Accuracy,
    BackboneInfo,
    EngineInfo,
    Proof,
    Record,
    TaskInfo,
)
from sparsebench.bench.records.trial import ENGINE_PICTURES, TimedBlock, Trial

__all__ = [
    "ENGINE_PICTURES",
    "Accuracy",
    "BackboneInfo",
    "Comparison",
    "Delta",
    "EffectIntervals",
    "Effects",
    "EngineInfo",
    "Estimate",
    "Proof",
    "Record",
    "RunFolder",
    "TaskInfo",
    "TimedBlock",
    "Trial",
    "cell_id",
    "utc_now",
]
