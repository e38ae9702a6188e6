"""What is not compared, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sparsebench.bench.comparisons import (
    best_dense,
    by_cell,
    compare_run,
    differing_keys,
    find_partner,
    run_times,
)
from sparsebench.bench.comparisons.matching import refuse_differences
from sparsebench.bench.records import Record
from sparsebench.models.errors import SparsebenchError
from tests.bench.comparisons.finding import ACDC, DENSE, of
from tests.bench.synthetic import (
    SyntheticRun,
    make_run,
)


def test_failed_sides_are_listed_with_their_reasons() -> None:
    run = make_run(
        blocks=2,
        failed={("inference", ACDC, "torch"), ("inference", DENSE, "deepsparse")},
    )
    compared = compare_run(run.records, run.trials)
    assert len(compared) == 18
    sparse = of(run, compared, "inference", ACDC, "torch")
    assert sparse.status == "failed" and "segmentation" in str(sparse.reason)
    assert sparse.speedup is None and sparse.verdict is None
    orphan = of(run, compared, "inference", ACDC, "deepsparse")
    assert orphan.status == "failed"
    assert "dense baseline resnet18/dense on deepsparse" in str(orphan.reason)


def test_partner_that_was_never_planned_is_missed() -> None:
    run = make_run(blocks=2, backbones=(ACDC,))
    for comparison in compare_run(run.records, run.trials):
        assert comparison.status == "failed"
        assert "no dense baseline in this run: resnet18/dense" in str(comparison.reason)


@pytest.mark.parametrize("key", ["settings", "machine", "task"])
def test_partner_with_other_must_match_keys_is_refused(run: SyntheticRun, key: str) -> None:
    record = run.record("inference", DENSE, "deepsparse")
    changes: dict[str, dict[str, Any]] = {
        "settings": {"settings": {**record.settings, "size": 224}},
        "machine": {"machine": {"fingerprint": "other"}},
        "task": {"task": replace(record.task, sha256="e" * 64)},
    }
    other = run.replaced(record, **changes[key])
    comparison = of(other, compare_run(other.records), "inference", ACDC, "deepsparse")
    assert comparison.status == "refused"
    expected = {"settings": "settings.size", "machine": "machine.fingerprint"}
    assert expected.get(key, "task.sha256") in str(comparison.reason)


def test_refusal_lists_every_differing_key_with_both_values(run: SyntheticRun) -> None:
    one = run.record("inference", ACDC, "deepsparse")
    two = replace(one, engine=replace(one.engine, threads=8, version="2.0"))
    assert differing_keys(one, two) == {"engine.version": ("1.0", "2.0"), "engine.threads": (2, 8)}
    with pytest.raises(SparsebenchError, match=r"engine\.version: '1\.0'.*engine\.threads: 2") as e:
        refuse_differences(one, two)
    assert e.value.exit_code == 2


def test_gpus_must_match_for_records_on_a_gpu_only(run: SyntheticRun) -> None:
    one = run.record("inference", ACDC, "torch")
    two = replace(one, machine={**one.machine, "gpus": ["H200"]})
    assert not differing_keys(one, two)
    first, second = (replace(r, engine=replace(r.engine, device="cuda")) for r in (one, two))
    assert list(differing_keys(first, second)) == ["machine.gpus"]


def test_partner_is_found_by_name_by_source_or_not_at_all(run: SyntheticRun) -> None:
    def renamed(record: Record, name: str, partner: str | None) -> Record:
        backbone = replace(record.backbone, name=name, dense_partner=partner)
        return replace(record, id=name, backbone=backbone)

    dense = run.record("inference", DENSE, "torch")
    sparse = run.record("inference", ACDC, "torch")
    plain = renamed(dense, "resnet18/dense", None)
    paper = renamed(dense, "resnet18/dense@paper", None)
    named = renamed(sparse, "resnet18/acdc-90@paper", "resnet18/dense")
    unnamed = renamed(sparse, "resnet18/acdc-90@paper", None)
    mine = renamed(sparse, "resnet18/acdc-90@mine", None)
    assert find_partner(named, [plain, paper]).id == plain.id
    assert find_partner(unnamed, [plain, paper]).id == paper.id
    with pytest.raises(SparsebenchError, match="any of"):
        find_partner(mine, [plain, paper])


def test_a_published_layout_has_the_dense_network_of_its_architecture_as_partner(
    run: SyntheticRun,
) -> None:
    """RigL's ResNet-50 pads and names otherwise; its dense baseline is the usual ResNet-50."""

    def of(record: Record, arch: str, name: str) -> Record:
        backbone = replace(record.backbone, arch=arch, name=name, dense_partner="resnet50/dense")
        return replace(record, id=name, backbone=backbone)

    dense = of(run.record("inference", DENSE, "torch"), "resnet50", "resnet50/dense")
    rigl = of(run.record("inference", ACDC, "torch"), "resnet50_rigl", "resnet50/rigl_erk_1x-80")
    assert find_partner(rigl, [dense]).id == dense.id
    (compared,) = compare_run([dense, rigl])
    assert compared.status == "ok"


def test_best_dense_ignores_other_batch_sizes(run: SyntheticRun) -> None:
    dense = run.record("inference", DENSE, "deepsparse")
    best = run.record("inference", DENSE, "onnxruntime")
    larger = replace(best, id="large", engine=replace(best.engine, batch_size=256))
    records = [dense, larger]
    times = run_times(records, by_cell(run.trials)) | {"large": run_times([best], {})[best.id]}
    assert best_dense(dense, records, times) == dense
