"""What a run leaves behind: trials, records and comparisons, their schemas and their folder."""

from sparsebench.bench.records.comparison import (
    UNEQUAL,
    Comparison,
    Delta,
    EffectIntervals,
    Effects,
    Estimate,
)
from sparsebench.bench.records.detections import Detections
from sparsebench.bench.records.folder import RunFolder
from sparsebench.bench.records.ids import cell_id, utc_now
from sparsebench.bench.records.outcomes import (
    CORRECT,
    Kept,
    Outcomes,
    OutcomesFile,
    packed,
    unpacked,
)
from sparsebench.bench.records.per_seed import of_seeds, stacked
from sparsebench.bench.records.record import (
    IMAGES_AND_SEEDS,
    SEEDS,
    Accuracy,
    BackboneInfo,
    EngineInfo,
    Proof,
    Record,
    TaskInfo,
)
from sparsebench.bench.records.trial import (
    DECODE_SECONDS,
    DETECTION,
    ENGINE_IMAGES,
    MODEL_BYTES,
    OPTIMUM,
    OWN_HEAD,
    PEAK_MEMORY,
    SCORED_ON,
    VISITS,
    TimedBlock,
    Trial,
)

__all__ = [
    "CORRECT",
    "DECODE_SECONDS",
    "DETECTION",
    "ENGINE_IMAGES",
    "IMAGES_AND_SEEDS",
    "MODEL_BYTES",
    "OPTIMUM",
    "OWN_HEAD",
    "SCORED_ON",
    "PEAK_MEMORY",
    "VISITS",
    "SEEDS",
    "UNEQUAL",
    "Accuracy",
    "BackboneInfo",
    "Comparison",
    "Delta",
    "Detections",
    "EffectIntervals",
    "Effects",
    "EngineInfo",
    "Estimate",
    "Kept",
    "Outcomes",
    "OutcomesFile",
    "Proof",
    "Record",
    "RunFolder",
    "TaskInfo",
    "TimedBlock",
    "Trial",
    "cell_id",
    "of_seeds",
    "packed",
    "stacked",
    "unpacked",
    "utc_now",
]
