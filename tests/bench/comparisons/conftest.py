"""One synthetic run, and its comparisons."""

from __future__ import annotations

import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.records import Comparison
from tests.bench.synthetic import SyntheticRun, make_run


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return make_run()


@pytest.fixture(scope="module")
def compared(run: SyntheticRun) -> list[Comparison]:
    return compare_run(run.records, run.trials)
