"""Lists in a plan: batch sizes, threads, sizes and precisions, one by one in one run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsebench.bench.plan.cells import expand, launches
from sparsebench.bench.plan.plan import Plan, load_plan, plan_from_dict, plan_to_toml
from sparsebench.bench.plan.resuming import same_plan
from sparsebench.bench.plan.validation import check
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.models.errors import SparsebenchError
from tests.bench.conftest import Result

Cli = Callable[..., Result]
BACKBONE = "resnet18/uniform-90@generated"
PLAN = Plan(
    backbones=(BACKBONE,), engines=("onnxruntime",), workloads=("inference",), threads=1, size=32
)


def test_a_list_is_measured_value_by_value_and_each_cell_is_that_of_a_plan_of_its_own() -> None:
    plan = plan_from_dict({"batch_size": [1, 16], "size": [32, 64]}, "mine.toml").with_changes(
        backbones=(BACKBONE,), engines=("onnxruntime",), workloads=("inference",), threads=1
    )
    cells = expand(plan)
    assert len(cells) == 2 * 2 * 2  # each with its dense baseline
    alone = plan.with_changes(batch_size=16, size=64)
    assert not alone.sweep
    assert {cell.id for cell in expand(alone)} < {cell.id for cell in cells}


def test_ratios_are_taken_between_cells_of_one_launch() -> None:
    groups = list(launches(expand(PLAN.with_changes(batch_size=(1, 16, 64))), lambda cell: 16))
    assert [{cell.batch_size for cell in group} for group in groups] == [{1}, {16}, {64}]
    assert all({cell.card.family == "dense" for cell in group} == {True, False} for group in groups)


def test_an_engine_takes_the_precisions_that_it_has() -> None:
    plan = PLAN.with_changes(
        engines=("native", "openvino", "torch:bf16"), precision=("fp32", "bf16", "int8")
    )
    check(plan)
    found = {(cell.engine, cell.precision) for cell in expand(plan)}
    native = {("native", precision) for precision in NativeEngine.precisions}  # int8 with VNNI
    assert found == native | {
        ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"), ("torch", "bf16"),
    }  # fmt: skip
    trains = expand(plan.with_changes(workloads=("full",), engines=("native",)))
    assert {cell.precision for cell in trains} == set(NativeEngine.training_precisions)
    with pytest.raises(SparsebenchError, match="None of the plan's engines computes in int8"):
        check(PLAN.with_changes(engines=("torch",), precision=("fp32", "int8")))


def test_a_swept_plan_is_written_and_read_back(tmp_path: Path) -> None:
    plan = PLAN.with_changes(batch_size=(1, 16), precision=("fp32", "int8"))
    (tmp_path / "plan.toml").write_text(plan_to_toml(plan))
    assert load_plan(str(tmp_path / "plan.toml")) == plan
    same_plan(plan, tmp_path)
    with pytest.raises(SparsebenchError, match=r"another plan \(different: batch_size\)"):
        same_plan(plan.with_changes(batch_size=(1, 32)), tmp_path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_size": []}, "must be a value or a list of some"),
        ({"batch_size": [1, "two"]}, "'batch_size' must be a whole number, not 'two'"),
        ({"batch_size": [1, 0]}, "'batch_size' must be"),
        ({"precision": ["fp32", "fp31"]}, "no precision named 'fp31'"),
        ({"threads": [1, 4096]}, "usable CPUs would time the scheduler"),
        ({"repeats": [1, 2]}, "'repeats' must be a whole number"),
    ],
)
def test_a_wrong_value_in_a_list_is_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(SparsebenchError, match=words):
        plan_from_dict(given, "mine.toml")


def test_repeated_options_are_one_run_one_table_and_one_figure(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "small.toml"
    plan.write_text("repeats = 2\ndiscards = 0\n[inference]\nmin_seconds = 0.01\nepochs = 1\n")
    done = cli(
        "run", plan, "--backbone", "resnet18/gmp_uniform-90", "--size", 32, "--batch-size", 1,
        "--batch-size", 4, "--engine", "onnxruntime", "--workload", "inference", "--task", images,
        "--seed", 1, "--threads", 1, "--out", tmp_path / "R",
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = (tmp_path / "R" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    sizes = [record["engine"]["batch_size"] for record in records]
    assert sorted(sizes) == [1, 1, 4, 4]
    assert "batch 1" in done.out and "batch 4" in done.out
    drawn = cli("plot", tmp_path / "R", "--figure", "batch-size", "--out", tmp_path / "figures")
    assert drawn.code == 0, drawn.err
    assert (tmp_path / "figures" / "batch-size.png").is_file()
