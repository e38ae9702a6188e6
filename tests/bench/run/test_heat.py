"""The qualifying heat: who gets full blocks, who is skipped with what reason, and only once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.run import execute, heat, run
from sparsebench.bench.run.heat import Seen, Worker, losers, qualify, rivals
from sparsebench.bench.run.pace import Pace
from sparsebench.bench.workloads.prepared_backbone import Prepared

SPARSE, DENSE = "resnet18/uniform-90@generated", "resnet18/dense@generated"
PLAN = Plan(
    backbones=(SPARSE,),
    engines=("onnxruntime", "torch:bf16"),
    dense_engines=("openvino", "openvino:int8", "torch", "torch:bf16", "onnxruntime:int8"),
    workloads=("inference", "linear-cached"),
    heat=1e-9,
)


def entered() -> dict[str, Cell]:
    return {c.engine_label: c for c in rivals(expand(PLAN), PLAN) if c.workload == "inference"}


def heard(**seconds: float | None) -> dict[Worker, Seen]:
    cells = {label.replace(" ", "_"): cell for label, cell in entered().items()}
    return {
        cells[name].worker: Seen(cells[name], value, value or 0.0)
        for name, value in seconds.items()
    }


def names(out: dict[Worker, dict[str, Any]]) -> set[str]:
    return {label for label, cell in entered().items() if cell.worker in out}


def test_only_dense_rivals_enter_and_never_what_the_plan_measures_anyway() -> None:
    found = rivals(expand(PLAN), PLAN)
    assert {cell.backbone for cell in found} == {DENSE}
    assert set(entered()) == {"openvino", "openvino int8", "torch", "onnxruntime int8"}
    assert {cell.workload for cell in found} == {"inference", "linear-cached"}


def test_those_near_the_best_of_all_or_of_fp32_qualify() -> None:
    """Else the best dense in fp32, which is named beside the best one, would not be measured."""
    out = losers(heard(openvino_int8=1.0, onnxruntime_int8=1.24, torch=4.0, openvino=3.3))
    assert names(out) == set()
    out = losers(heard(openvino_int8=1.0, onnxruntime_int8=1.26, torch=4.2, openvino=3.3))
    assert names(out) == {"onnxruntime int8", "torch"}
    told = out[entered()["onnxruntime int8"].worker]
    assert "1.26 times as long as openvino int8" in told["reason"]
    assert (told["seconds"], told["best_seconds"]) == (1.26, 1.0)
    assert "1.27 times as long as openvino;" in out[entered()["torch"].worker]["reason"]


def test_who_is_slow_by_one_clock_alone_qualifies() -> None:
    """One after another: a machine that was busy meanwhile slows one of them by the wall clock."""
    seen = heard(openvino_int8=1.0, onnxruntime_int8=5.0, torch=1.0)
    key = entered()["onnxruntime int8"].worker
    assert names(losers(seen)) == {"onnxruntime int8"}
    assert names(losers(seen | {key: replace(seen[key], process_seconds=1.2)})) == set()


def test_one_that_failed_is_left_to_its_blocks_which_say_why() -> None:
    assert names(losers(heard(openvino=None, torch=1.0))) == set()
    assert losers({}) == {}


def test_a_network_that_breaks_in_its_own_way_does_not_stop_the_run() -> None:
    def breaks(cell: Cell) -> Prepared:
        raise ZeroDivisionError

    plan = replace(PLAN, heat=600.0)
    assert qualify(expand(plan), plan, breaks, lambda text: None) == {}


def test_whose_turn_comes_too_late_is_skipped_and_told_so() -> None:
    out = qualify(expand(PLAN), PLAN, lambda cell: pytest.fail(cell.label), lambda text: None)
    assert set(out) == {cell.id for cell in rivals(expand(PLAN), PLAN)}
    assert all("were over before its turn" in told["reason"] for told in out.values())


class Silent:
    """A display that shows nothing."""

    def begin(self, title: str, pace: Pace) -> None: ...

    def say(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...


def test_a_run_holds_one_heat_and_skips_with_a_reason(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heat is a real one; the blocks behind it are left out, and who loses is given."""
    held: list[dict[str, float | None]] = []

    def torch_loses(seen: dict[Worker, Seen]) -> dict[Worker, dict[str, Any]]:
        held.append({one.cell.engine_label: one.seconds for one in seen.values()})
        told = {"reason": "Qualifying heat: slow.", "seconds": 2.0, "best_seconds": 1.0}
        return {key: told for key, one in seen.items() if one.cell.engine == "torch"}

    blocks: list[set[str]] = []
    monkeypatch.setattr(heat, "losers", torch_loses)
    for name in ("write_summaries", "write_page", "trim"):
        monkeypatch.setattr(execute, name, lambda *given: None)
    monkeypatch.setattr(run, "run_block", lambda cells, *given: blocks.append(
        {cell.engine for cell in cells}
    ))  # fmt: skip
    plan = Plan(
        backbones=(SPARSE,),
        engines=("onnxruntime",),
        dense_engines=("torch",),
        workloads=("inference",),
        tasks=(str(images),),
        size=32,
        batch_size=8,
        threads=1,
        repeats=1,
        discards=0,
        heat=600.0,
    )
    for resume in (False, True):
        outcome = execute.execute(plan, tmp_path / "R", resume=resume, display=Silent())
        assert (outcome.measured, outcome.failed) == (0, 2)
        records = {record.engine.name: record for record in outcome.folder.records()}
        skipped = records["torch"]
        assert (skipped.status, skipped.reason) == ("skipped", "Qualifying heat: slow.")
        assert skipped.extra["heat"]["seconds"] == 2.0
        assert records["onnxruntime"].status == "failed"
    assert blocks == [{"onnxruntime"}] * 2
    ((one,),) = [list(seen.items()) for seen in held]
    assert one[0] == "torch" and (one[1] or 0) > 0
