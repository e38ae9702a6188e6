"""Statistics of timed blocks and of seeds: intervals, ratios, verdicts, bounds."""

from sparsebench.bench.statistics.accuracy import accuracy_delta, relative_error_increase
from sparsebench.bench.statistics.bootstrap import bootstrap_interval
from sparsebench.bench.statistics.bounds import amdahl_bound, stage_fraction
from sparsebench.bench.statistics.changes import (
    FAMILY_ERROR,
    Change,
    change_of,
    holm,
    log_error,
    p_of,
)
from sparsebench.bench.statistics.crossed import crossed_interval, proportion_interval
from sparsebench.bench.statistics.intervals import Interval, geometric_interval, mean_interval
from sparsebench.bench.statistics.profiles import Profile, performance_profiles
from sparsebench.bench.statistics.ratios import (
    SMALLEST_EFFECT_OF_INTEREST,
    BlockPair,
    RatioEstimate,
    chain_ratios,
    estimate_ratio,
    geometric_mean,
    verdict,
)
from sparsebench.bench.statistics.warmup import settled, settling_point

__all__ = [
    "FAMILY_ERROR",
    "SMALLEST_EFFECT_OF_INTEREST",
    "BlockPair",
    "Change",
    "Interval",
    "Profile",
    "RatioEstimate",
    "accuracy_delta",
    "amdahl_bound",
    "bootstrap_interval",
    "chain_ratios",
    "change_of",
    "crossed_interval",
    "estimate_ratio",
    "geometric_interval",
    "geometric_mean",
    "holm",
    "log_error",
    "p_of",
    "mean_interval",
    "performance_profiles",
    "proportion_interval",
    "relative_error_increase",
    "settled",
    "settling_point",
    "stage_fraction",
    "verdict",
]
