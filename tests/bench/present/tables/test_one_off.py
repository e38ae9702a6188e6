"""What is paid once stands beside the times: apart, in one training, shared out over many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.present.tables import sections
from sparsebench.bench.present.tables.one_off import amortized, one_off, one_off_table
from sparsebench.bench.present.tables.rows import Section
from sparsebench.bench.records import Record
from tests.bench.synthetic import SyntheticRun, make_run

SPARSE = "resnet18/acdc-90"


def with_costs(record: Record) -> Record:
    """The export takes 3 s for all; DeepSparse compiles the sparse one in 1, 2, 9 s, else 4 s."""
    sparse = record.backbone.name == SPARSE
    compiling = [1.0, 2.0, 9.0] if sparse else [4.0, 4.0, 4.0]
    costs = {"export_seconds": [3.0, 3.0, 3.0], "compile_seconds": compiling}
    return replace(record, extra={**record.extra, **costs})


@pytest.fixture(scope="module")
def section() -> Section:
    run: SyntheticRun = make_run(
        backbones=["resnet18/dense", SPARSE], engines=["deepsparse"], process=0.0
    )
    records = [with_costs(record) for record in run.records]
    found = sections(records, run.trials, compare_run(records, run.trials))
    return next(one for one in found if one.workload == "linear-cached")


def test_costs_are_medians_over_launches(section: Section) -> None:
    dense, sparse = section.rows
    found = one_off(sparse.record)
    assert found is not None and (found.export, found.build, found.seconds) == (3.0, 2.0, 5.0)
    assert one_off(replace(dense.record, extra={})) is None


def test_they_are_shared_out_over_the_trainings_that_use_them(section: Section) -> None:
    dense, sparse = section.rows
    d, s = dense.speed.mid, sparse.speed.mid
    assert amortized(sparse, dense, 1) == pytest.approx((d + 7) / (s + 5))
    assert amortized(sparse, dense, 10) == pytest.approx((d + 0.7) / (s + 0.5))
    # Over ever more trainings the ratio becomes that of the times alone.
    assert amortized(sparse, dense, 10**9) == pytest.approx(d / s, rel=1e-6)


def test_tables_show_them_for_whole_jobs(section: Section) -> None:
    table = one_off_table(section)
    assert table is not None
    dense, sparse = ([entry.text for entry in line.entries] for line in table.lines)
    assert dense == ["resnet18/dense", "deepsparse", "3", "4", "dense", "dense"]
    assert sparse[2:4] == ["3", "2"]
    assert [column.title for column in table.columns][2:5] == ["export s", "compile s", "first run"]
    assert one_off_table(replace(section, workload="inference")) is None
