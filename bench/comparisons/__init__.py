"""From records and trials to comparisons: within a run, and between runs."""

from bench.comparisons.between import (
    ComparedCell,
    ComparisonOfRuns,
    compare_folders,
    compare_within,
)
from bench.comparisons.matching import best_dense, differing_keys, find_partner, must_match
from bench.comparisons.run import GENERATED, compare_run
from bench.comparisons.times import CellTimes, cell_times, pair_blocks, ratio_of_cells

__all__ = [
    "GENERATED",
    "CellTimes",
    "ComparedCell",
    "ComparisonOfRuns",
    "best_dense",
    "cell_times",
    "compare_folders",
    "compare_run",
    "compare_within",
    "differing_keys",
    "find_partner",
    "must_match",
    "pair_blocks",
    "ratio_of_cells",
]
