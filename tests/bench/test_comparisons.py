"""Comparisons of synthetic runs whose true ratios are known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.comparisons import (
    best_dense,
    by_cell,
    compare_folders,
    compare_run,
    compare_within,
    differing_keys,
    find_partner,
    run_times,
)
from bench.comparisons.matching import refuse_differences
from bench.records import Comparison, Record
from models.errors import NothingMeasuredError, SparsebenchError, UnknownNameError
from tests.bench.synthetic import (
    ENGINES,
    FLOPS_RATIO,
    MACHINE,
    OTHER_STAGES,
    PICTURES,
    SyntheticRun,
    make_run,
    true_seconds,
    true_speedup,
    true_total,
)

ACDC = "resnet18/acdc-90"
DENSE = "resnet18/dense"


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return make_run()


@pytest.fixture(scope="module")
def compared(run: SyntheticRun) -> list[Comparison]:
    return compare_run(run.records, run.trials)


def of(run: SyntheticRun, compared: list[Comparison], *cell: str) -> Comparison:
    record = run.record(*cell)
    return next(c for c in compared if c.sparse == record.id)


def with_precision(record: Record, precision: str, suffix: str) -> Record:
    engine = replace(record.engine, precision=precision)
    return replace(record, id=record.id + suffix, engine=engine)


# --- speed


def test_every_sparse_record_is_compared_once(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    sparse = [record.id for record in run.records if record.backbone.name != DENSE]
    assert [comparison.sparse for comparison in compared] == sparse
    assert {comparison.status for comparison in compared} == {"ok"}


def test_intervals_hold_the_true_ratios_as_often_as_they_say() -> None:
    inside, total_inside, count = 0, 0, 0
    for seed in range(6):
        run = make_run(seed=seed)
        by_id = {record.id: record for record in run.records}
        for comparison in compare_run(run.records, run.trials):
            record = by_id[comparison.sparse]
            cell = (record.workload, record.backbone.name, record.engine.name)
            assert comparison.speedup is not None and comparison.speedup.ci95 is not None
            assert comparison.total is not None and comparison.total.ci95 is not None
            low, high = comparison.speedup.ci95
            inside += low <= true_speedup(*cell) <= high
            low, high = comparison.total.ci95
            total_inside += low <= true_total(*cell) <= high
            count += 1
    assert inside / count > 0.88
    assert total_inside / count > 0.88


def test_drift_common_to_a_block_cancels() -> None:
    """Without process effects only the drift of 5 % is left, and the ratio is exact."""
    run = make_run(process=0, iteration=0)
    comparison = of(run, compare_run(run.records, run.trials), "inference", ACDC, "deepsparse")
    assert comparison.speedup is not None and comparison.speedup.ci95 is not None
    assert comparison.speedup.ci95 == pytest.approx((4.0, 4.0))
    assert comparison.speedup.blocks == 5


def test_effects_multiply_to_the_total(compared: list[Comparison]) -> None:
    for comparison in compared:
        effects, total = comparison.effects, comparison.total
        assert effects is not None and total is not None and comparison.speedup is not None
        product = effects.engine * effects.sparsity * effects.precision
        assert product == pytest.approx(total.median, rel=1e-12)
        assert effects.sparsity == comparison.speedup.median
        assert total.ci95 is not None
        assert total.ci95[0] < total.median < total.ci95[1]


def test_total_is_against_the_best_dense_engine(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    best = {w: run.record(w, DENSE, "onnxruntime").id for w in ("inference", "linear-cached")}
    assert all(comparison.best_dense == best[comparison.workload] for comparison in compared)
    own = of(run, compared, "inference", ACDC, "onnxruntime")
    assert own.total == own.speedup
    assert own.effects is not None and own.effects.engine == 1.0


def test_verdicts(run: SyntheticRun, compared: list[Comparison]) -> None:
    fast = of(run, compared, "inference", ACDC, "deepsparse")
    assert (fast.verdict, fast.total_verdict) == ("better", "better")
    null = of(run, compared, "inference", ACDC, "onnxruntime")
    assert null.verdict == "inconclusive"
    slow = of(run, compared, "inference", ACDC, "torch")  # no gain, on an engine that is slower
    assert (slow.verdict, slow.total_verdict) == ("inconclusive", "worse")
    assert slow.smallest_effect is not None and 0 < slow.smallest_effect < 0.3


def test_trials_in_the_records_serve_where_no_file_has_them(run: SyntheticRun) -> None:
    assert compare_run(run.records) == compare_run(run.records, run.trials)


def test_discarded_and_failed_trials_do_not_count(run: SyntheticRun) -> None:
    wild = [
        replace(t, status=status, reason="drift", seconds=tuple(9 * s for s in t.seconds))
        for t, status in zip(run.trials, itertools.cycle(["discarded", "failed"]), strict=False)
    ]
    assert compare_run(run.records, [*run.trials, *wild]) == compare_run(run.records, run.trials)


def test_one_block_gives_a_point_without_interval_or_verdict() -> None:
    run = make_run(blocks=1)
    comparison = of(run, compare_run(run.records, run.trials), "inference", ACDC, "deepsparse")
    assert comparison.speedup is not None and comparison.speedup.ci95 is None
    assert comparison.verdict == "inconclusive"
    assert comparison.smallest_effect is None
    assert any("interval" in note for note in comparison.notes)


# --- blocks cut by a kill


def interrupted(run: SyntheticRun, engine: str, blocks: set[int], factor: float) -> SyntheticRun:
    """The sparse side of some blocks runs in a second launch, on a machine `factor` slower."""
    cell = run.record("inference", ACDC, engine).id
    trials = [
        replace(t, launch="resumed", seconds=tuple(factor * s for s in t.seconds))
        if t.cell == cell and t.block in blocks
        else t
        for t in run.trials
    ]
    return SyntheticRun(run.records, trials)


def test_split_blocks_are_left_out_and_counted(run: SyntheticRun) -> None:
    cut = interrupted(run, "deepsparse", {4}, factor=3)
    comparison = of(cut, compare_run(cut.records, cut.trials), "inference", ACDC, "deepsparse")
    assert comparison.split_blocks == 1
    assert comparison.speedup is not None
    assert comparison.speedup.blocks == 4
    assert comparison.speedup.median == pytest.approx(4.0, rel=0.1)
    assert comparison.effects is not None and comparison.total is not None
    product = math.prod(vars(comparison.effects).values())
    assert product == pytest.approx(comparison.total.median, rel=1e-12)
    assert any("left out" in note for note in comparison.notes)


def test_split_blocks_are_used_where_fewer_than_two_whole_ones_exist(run: SyntheticRun) -> None:
    cut = interrupted(run, "deepsparse", {1, 2, 3, 4}, factor=1)
    comparison = of(cut, compare_run(cut.records, cut.trials), "inference", ACDC, "deepsparse")
    assert comparison.split_blocks == 4
    assert comparison.speedup is not None and comparison.speedup.blocks == 5
    assert any("used all the same" in note for note in comparison.notes)


def test_best_engine_with_a_missing_block_still_gives_a_total(run: SyntheticRun) -> None:
    best = run.record("inference", DENSE, "onnxruntime").id
    trials = [t for t in run.trials if not (t.cell == best and t.block == 0)]
    cut = SyntheticRun(run.records, trials)
    comparison = of(cut, compare_run(cut.records, cut.trials), "inference", ACDC, "deepsparse")
    assert comparison.effects is not None and comparison.total is not None
    assert comparison.best_dense == best
    product = math.prod(vars(comparison.effects).values())
    assert product == pytest.approx(comparison.total.median, rel=1e-12)
    assert comparison.total.ci95 is not None and comparison.speedup is not None
    assert comparison.speedup.ci95 is not None
    widths = [high / low for low, high in (comparison.total.ci95, comparison.speedup.ci95)]
    assert widths[0] > widths[1]  # as if engine and sparsity effect were independent
    assert any("misses blocks" in note for note in comparison.notes)


# --- precision


def test_precision_is_a_factor_of_its_own(run: SyntheticRun) -> None:
    """Dense fp32 on the best engine -> dense fp32 here -> dense int8 here -> sparse int8 here."""
    ort = run.record("inference", DENSE, "onnxruntime")
    dense = run.record("inference", DENSE, "deepsparse")
    sparse = run.record("inference", ACDC, "deepsparse")
    half = tuple(replace(t, seconds=tuple(2 * s for s in t.seconds)) for t in dense.trials)
    dense8 = replace(with_precision(dense, "int8", "-8"), trials=half)  # twice as slow
    sparse8 = with_precision(sparse, "int8", "-8")
    comparison = compare_run([ort, dense, dense8, sparse8])[0]
    assert comparison.dense == dense8.id
    assert comparison.effects is not None and comparison.total is not None
    assert comparison.effects.engine == pytest.approx(1 / 1.1, rel=0.1)
    assert comparison.effects.precision == pytest.approx(0.5)
    assert comparison.effects.sparsity == pytest.approx(8, rel=0.1)
    product = math.prod(vars(comparison.effects).values())
    assert product == pytest.approx(comparison.total.median, rel=1e-12)


def test_precision_without_a_reference_here_is_part_of_the_engine_effect(
    run: SyntheticRun,
) -> None:
    ort = run.record("inference", DENSE, "onnxruntime")
    dense8 = with_precision(run.record("inference", DENSE, "deepsparse"), "int8", "-8")
    sparse8 = with_precision(run.record("inference", ACDC, "deepsparse"), "int8", "-8")
    comparison = compare_run([ort, dense8, sparse8])[0]
    assert comparison.effects is not None
    assert comparison.effects.precision == 1.0
    assert any("precision" in note for note in comparison.notes)


# --- accuracy


def test_accuracy_change_is_paired_by_seed(run: SyntheticRun, compared: list[Comparison]) -> None:
    comparison = of(run, compared, "linear-cached", ACDC, "deepsparse")
    sparse = run.record("linear-cached", ACDC, "deepsparse").accuracy
    dense = run.record("linear-cached", DENSE, "deepsparse").accuracy
    assert sparse is not None and dense is not None
    delta = comparison.accuracy_delta
    assert delta is not None and delta.ci95 is not None
    assert delta.mean == pytest.approx((sparse.mean - dense.mean) * 100)
    assert delta.ci95[0] < delta.mean < delta.ci95[1]
    increase = comparison.relative_error_increase
    assert increase == pytest.approx((dense.mean - sparse.mean) / (1 - dense.mean))
    assert comparison.accuracy_from is None


def test_seeds_in_another_order_are_still_pairs(run: SyntheticRun) -> None:
    record = run.record("linear-cached", ACDC, "deepsparse")
    assert record.accuracy is not None and record.accuracy.seeds is not None
    mixed = replace(
        record.accuracy,
        per_seed=record.accuracy.per_seed[::-1],
        seeds=record.accuracy.seeds[::-1],
    )
    turned = run.replaced(record, accuracy=mixed)
    before = of(run, compare_run(run.records), "linear-cached", ACDC, "deepsparse")
    after = of(turned, compare_run(turned.records), "linear-cached", ACDC, "deepsparse")
    assert before.accuracy_delta is not None and after.accuracy_delta is not None
    assert after.accuracy_delta.ci95 == pytest.approx(before.accuracy_delta.ci95)


def test_inference_borrows_the_accuracy_of_its_training_workload(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    lender = of(run, compared, "linear-cached", ACDC, "deepsparse")
    borrower = of(run, compared, "inference", ACDC, "deepsparse")
    assert borrower.accuracy_delta == lender.accuracy_delta
    assert borrower.accuracy_from == lender.sparse
    assert any("linear-cached" in note for note in borrower.notes)


def test_without_any_accuracy_there_is_none() -> None:
    run = make_run(workloads=("inference",))
    comparison = compare_run(run.records, run.trials)[0]
    assert comparison.status == "ok"
    assert comparison.accuracy_delta is None


def test_generated_weights_are_marked(compared: list[Comparison], run: SyntheticRun) -> None:
    generated = of(run, compared, "inference", "resnet18/erk-90@generated", "deepsparse")
    assert not generated.trained
    assert of(run, compared, "inference", ACDC, "deepsparse").trained


# --- bounds


def test_bound_of_inference_is_the_flops_ratio(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    comparison = of(run, compared, "inference", ACDC, "deepsparse")
    assert comparison.amdahl_bound == pytest.approx(1 / FLOPS_RATIO[ACDC])
    assert comparison.speedup is not None
    assert comparison.efficiency == pytest.approx(comparison.speedup.median * FLOPS_RATIO[ACDC])


def test_bound_of_linear_cached_is_amdahls_with_the_measured_extraction(
    run: SyntheticRun, compared: list[Comparison]
) -> None:
    """(E + rest) / (E/s + rest), with s as the run's inference has measured it."""
    extract = true_seconds("inference", DENSE, "deepsparse") * PICTURES
    rest = sum(OTHER_STAGES.values())
    measured = of(run, compared, "inference", ACDC, "deepsparse").speedup
    assert measured is not None
    expected = (extract + rest) / (extract / measured.median + rest)
    comparison = of(run, compared, "linear-cached", ACDC, "deepsparse")
    assert comparison.amdahl_bound == pytest.approx(expected, rel=1e-6)
    assert comparison.bound_from == "inference"


def test_bound_of_linear_cached_without_inference_uses_flops() -> None:
    run = make_run(workloads=("linear-cached",))
    extract = true_seconds("inference", DENSE, "deepsparse") * PICTURES
    rest = sum(OTHER_STAGES.values())
    comparison = of(run, compare_run(run.records), "linear-cached", ACDC, "deepsparse")
    expected = (extract + rest) / (extract * FLOPS_RATIO[ACDC] + rest)
    assert comparison.amdahl_bound == pytest.approx(expected, rel=1e-6)
    assert comparison.bound_from == "flops"


def test_unknown_bound_says_why(run: SyntheticRun) -> None:
    record = run.record("inference", ACDC, "deepsparse")
    blind = run.replaced(record, backbone=replace(record.backbone, flops_ratio=None))
    comparison = of(blind, compare_run(blind.records), "inference", ACDC, "deepsparse")
    assert comparison.amdahl_bound is None and comparison.efficiency is None
    assert any(note.startswith("No bound") for note in comparison.notes)


# --- what cannot be compared


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
    assert "dense partner resnet18/dense on deepsparse" in str(orphan.reason)


def test_partner_that_was_never_planned_is_missed() -> None:
    run = make_run(blocks=2, backbones=(ACDC,))
    for comparison in compare_run(run.records, run.trials):
        assert comparison.status == "failed"
        assert "no dense partner in this run: resnet18/dense" in str(comparison.reason)


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


def test_best_dense_ignores_other_batch_sizes(run: SyntheticRun) -> None:
    dense = run.record("inference", DENSE, "deepsparse")
    best = run.record("inference", DENSE, "onnxruntime")
    larger = replace(best, id="large", engine=replace(best.engine, batch_size=256))
    records = [dense, larger]
    times = run_times(records, by_cell(run.trials)) | {"large": run_times([best], {})[best.id]}
    assert best_dense(dense, records, times, "fp32") == dense


# --- two runs, or two cells


def test_two_runs_are_compared_by_their_speedups(tmp_path: Path) -> None:
    """The second run's machine is half as fast today; its speed-ups are the same."""
    slow = make_run(seed=2)
    trials = [replace(t, seconds=tuple(2 * s for s in t.seconds)) for t in slow.trials]
    first = make_run(seed=1).write(tmp_path / "a")
    second = SyntheticRun(slow.records, trials).write(tmp_path / "b")
    result = compare_folders(first, second)
    assert (result.a, result.b, result.of) == ("a", "b", "speed-ups")
    assert len(result.cells) == 24
    sparse = [cell for cell in result.cells if cell.ratio is not None]
    assert len(sparse) == 18
    holds = [c.ratio.ci95[0] <= 1 <= c.ratio.ci95[1] for c in sparse if c.ratio and c.ratio.ci95]
    assert sum(holds) >= 16
    assert all(c.verdict == "inconclusive" for c in sparse[:3])
    changes = [c.accuracy_change.mean for c in sparse if c.accuracy_change]
    assert changes == pytest.approx([0] * 12)  # the generated ones have no accuracy to compare
    assert result.to_json()["cells"][0]["status"] == "ok"


def test_change_of_speedup_between_runs_is_seen(tmp_path: Path) -> None:
    run = make_run(seed=1)
    cell = run.record("inference", ACDC, "deepsparse").id
    trials = [
        replace(t, seconds=tuple(s / 2 for s in t.seconds)) if t.cell == cell else t
        for t in make_run(seed=3).trials
    ]
    a, b = run.write(tmp_path / "a"), SyntheticRun(run.records, trials).write(tmp_path / "b")
    changed = {c.cell: c for c in compare_folders(a, b).cells}[f"{ACDC} on deepsparse (inference)"]
    assert changed.ratio is not None and changed.ratio.median == pytest.approx(2, rel=0.1)
    assert changed.verdict == "better"


def test_runs_of_different_machines_are_refused_unless_asked_for(tmp_path: Path) -> None:
    a = make_run(blocks=2).write(tmp_path / "a")
    b = make_run(blocks=2, machine={**MACHINE, "fingerprint": "other"}).write(tmp_path / "b")
    with pytest.raises(SparsebenchError, match=r"machine\.fingerprint") as refusal:
        compare_folders(a, b)
    assert refusal.value.exit_code == 2
    result = compare_folders(a, b, across_machines=True)
    assert any("different machines" in note for note in result.notes)


def test_cells_of_one_run_only_are_named(tmp_path: Path) -> None:
    a = make_run(blocks=2, engines=ENGINES[:2]).write(tmp_path / "a")
    b = make_run(blocks=2, engines=ENGINES[1:]).write(tmp_path / "b")
    result = compare_folders(a, b)
    assert len(result.only_a) == len(result.only_b) == 8
    assert f"{ACDC} on deepsparse (inference)" in result.only_a


def test_runs_without_a_common_cell_measure_nothing(tmp_path: Path) -> None:
    a = make_run(blocks=2, engines=("torch",)).write(tmp_path / "a")
    b = make_run(blocks=2, engines=("torch",), threads=8).write(tmp_path / "b")
    with pytest.raises(NothingMeasuredError):
        compare_folders(a, b)


def test_two_backbones_of_a_run_are_compared_engine_by_engine(tmp_path: Path) -> None:
    folder = make_run().write(tmp_path / "a")
    result = compare_within(folder, "resnet18/magnitude-50", ACDC)
    assert len(result.cells) == 6
    first = result.cells[0]
    assert first.ratio is not None and first.ratio.median == pytest.approx(4 / 1.3, rel=0.1)
    assert first.verdict == "better"
    assert first.accuracy_change is not None and first.accuracy_change.mean > 0


def test_two_records_of_a_run_may_differ_in_their_engine(tmp_path: Path) -> None:
    run = make_run()
    folder = run.write(tmp_path / "a")
    a = run.record("inference", DENSE, "torch").id
    b = run.record("inference", DENSE, "onnxruntime").id
    result = compare_within(folder, a, b)
    assert len(result.cells) == 1
    ratio = result.cells[0].ratio
    assert ratio is not None and ratio.median == pytest.approx(1.6, rel=0.1)
    inference = run.record("inference", DENSE, "torch").id
    training = run.record("linear-cached", DENSE, "torch").id
    with pytest.raises(SparsebenchError, match="workload"):
        compare_within(folder, inference, training)


def test_unknown_side_offers_near_names(tmp_path: Path) -> None:
    folder = make_run(blocks=2).write(tmp_path / "a")
    with pytest.raises(UnknownNameError, match="resnet18/acdc-90"):
        compare_within(folder, "resnet18/acdc-9", DENSE)


def test_failed_cell_in_one_run_is_shown_with_its_reason(tmp_path: Path) -> None:
    a = make_run(blocks=2).write(tmp_path / "a")
    b = make_run(blocks=2, failed={("inference", ACDC, "torch")}).write(tmp_path / "b")
    cells = {cell.cell: cell for cell in compare_folders(a, b).cells}
    failed = cells[f"{ACDC} on torch (inference)"]
    assert failed.status == "failed" and "B: The worker ended" in str(failed.reason)
