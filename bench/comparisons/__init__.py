"""From records and trials to comparisons: within a run, and between runs."""

from sparsebench.bench.comparisons.accuracy_change import ONE_SEED
from sparsebench.bench.comparisons.compare_runs import (
    ComparedCell,
    ComparisonOfRuns,
    compare_folders,
    compare_within,
)
from sparsebench.bench.comparisons.dense import best_dense, dense_against_best
from sparsebench.bench.comparisons.matching import (
    Records,
    differing_keys,
    find_partner,
    indexed,
    must_match,
)
from sparsebench.bench.comparisons.notes import GENERATED, TOO_FEW_BLOCKS
from sparsebench.bench.comparisons.times import (
    CellTimes,
    by_cell,
    pair_blocks,
    ratio_of_cells,
    run_times,
)
from sparsebench.bench.comparisons.within_run import compare_run

__all__ = [
    "GENERATED",
    "ONE_SEED",
    "TOO_FEW_BLOCKS",
    "CellTimes",
    "ComparedCell",
    "ComparisonOfRuns",
    "Records",
    "best_dense",
    "by_cell",
    "compare_folders",
    "compare_run",
    "compare_within",
    "dense_against_best",
    "differing_keys",
    "find_partner",
    "indexed",
    "must_match",
    "pair_blocks",
    "ratio_of_cells",
    "run_times",
]
