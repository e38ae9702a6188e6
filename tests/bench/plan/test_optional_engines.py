"""``torch:bf16?``: a rival where the processor computes bf16, nothing where it would emulate it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sparsebench.bench.plan import optional_engines as rivals
from sparsebench.bench.plan.cells import engines_for
from sparsebench.bench.plan.plan import Plan, load_plan
from sparsebench.exporters.kernels.generated import memory
from sparsebench.models.errors import SparsebenchError
from tests.bench.conftest import Result

DENSE, RIVAL, OURS = ("torch", "fp32"), ("torch", "bf16"), ("native", "fp32")


def on(monkeypatch: pytest.MonkeyPatch, *isa: str) -> None:
    facts: dict[str, Any] = {"isa": ["avx2", *isa]}
    monkeypatch.setattr(rivals, "machine_facts", lambda: facts)


@pytest.mark.parametrize("preset", ["quick", "finetune"])
def test_dense_bf16_is_raced_where_the_processor_has_it(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_plan(preset)
    for isa in ("avx512_bf16", "amx_bf16", "bf16"):
        on(monkeypatch, isa)
        assert engines_for("full", plan) == (DENSE, RIVAL, OURS)
    on(monkeypatch, "avx512f")
    assert engines_for("full", plan) == (DENSE, OURS)
    assert engines_for("full", plan.with_changes(device="cuda"))[1] == RIVAL


def test_it_is_said_and_asked_for_without_the_mark_it_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(monkeypatch)
    asked = Plan(workloads=("full",), engines=("torch", "torch:bf16"))
    assert engines_for("full", asked) == (DENSE, RIVAL) and rivals.left_out(asked) == []
    (told,) = rivals.left_out(Plan(workloads=("full",), engines=("torch", "torch:bf16?")))
    assert told.startswith("torch:bf16 is left out") and "--engine torch:bf16" in told


def test_doctor_says_what_this_processor_is_not_asked_for(
    cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch)
    told = cli("doctor", "--machine").out
    assert told.count("openvino:bf16 is left out: this processor has no instructions for bf16") == 1
    on(monkeypatch, "avx512_bf16")
    assert "bf16 is left out" not in cli("doctor", "--machine").out


@pytest.mark.parametrize("preset", ["speed", "standard"])
def test_int8_on_native_is_raced_where_the_processor_has_vnni(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_plan(preset)
    asked = (*plan.engines, *plan.dense_engines)
    assert "native:int8?" in asked
    for refused in ("", "no VNNI"):
        monkeypatch.setattr(memory, "no_bytes", lambda isa="avx512", why=refused: why)
        found = [str(entry) for entry in rivals.present(asked, plan)]
        assert ("native:int8" in found) == (not refused)
        told = [text for text in rivals.left_out(plan) if text.startswith("native:int8")]
        assert told == (
            ["native:int8 is left out: native has no kernels for int8 on this processor."]
            if refused
            else []
        )


def test_dense_rivals_of_trainings_alone_are_refused() -> None:
    with pytest.raises(SparsebenchError, match="no effect on full: both networks"):
        load_plan("quick").with_changes(workloads=("full",), dense_engines=("torch",))
    plan = load_plan("quick").with_changes(
        workloads=("inference", "full"), dense_engines=("torch",)
    )
    assert plan.dense_engines == ("torch",)
    # A preset's own rivals are not what somebody asked for, nor are those that an engine drops.
    for more in ({}, {"engines": ("torch",)}):
        assert load_plan("quick").with_changes(workloads=("full",), **more).workloads == ("full",)
