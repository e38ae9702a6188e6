"""What of a plan is looked up before anything is made or opened."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.bench.plan.cells import engines_for, with_partners
from sparsebench.bench.plan.entries import TWO_OF_FOUR, EngineEntry
from sparsebench.bench.plan.optional_engines import computes
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.workloads import WORKLOADS, workload_of
from sparsebench.bench.tasks.naming import distinct_names
from sparsebench.exporters.worker.launch import ENGINES
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.zoo import find_card


def check(plan: Plan) -> None:
    """Look up every name of a plan before anything is made or opened.

    Raises:
        UnknownNameError: a name that no registry knows, with the nearest ones.
        SparsebenchError: a plan without cells, or with one folder as two tasks.
    """
    for kind, names in (
        ("backbones", plan.backbones),
        ("engines", plan.engines),
        ("workloads", plan.workloads),
        ("tasks", plan.tasks),
    ):
        if not names:
            raise SparsebenchError(f"The plan names no {kind}.", f"Add `{kind} = [...]`.")
    names = (*plan.backbones, *plan.dense, *plan.dense.values())
    refused = {name: card.refused for name in names if (card := find_card(name)).refused}
    pairs = [(name, plan.dense.get(name, name)) for name in plan.backbones]
    if all(refused.keys() & {sparse, dense} for sparse, dense in pairs):
        raise SparsebenchError(next(iter(refused.values())))  # else they become failed records
    for name in (*plan.workloads, *plan.workload_engines):
        WORKLOADS.target(name)
    for name in plan.workloads:
        for single in plan.singles():
            workload_of(name).check(single)
    with_partners(plan)
    named = [entry for entries in plan.workload_engines.values() for entry in entries]
    for entry in (*plan.engines, *plan.dense_engines, *named, *plan.engine_settings):
        ENGINES.target(EngineEntry.parse(entry).name)
    _refuse_precisions(plan)
    distinct_names(plan.tasks, plan.data_dir)


def _refuse_precisions(plan: Plan) -> None:
    """Say before anything is measured which engine cannot compute as the plan asks.

    Raises:
        SparsebenchError: names the engines that can.
    """
    planned = set()
    for workload in plan.workloads:
        trains = workload_of(workload).engines is not None
        for name, precision in engines_for(workload, plan):
            planned.add(precision)
            if computes(name, precision, trains):
                continue
            if trains:
                raise SparsebenchError(
                    f"'{workload}' trains the network, which is not done in {precision} on {name}.",
                    f"Leave it out, or give it engines of its own: [workload_engines] {workload} = "
                    '["torch:fp32"].',
                )
            only = " outside of trainings" if computes(name, precision, trains=True) else ""
            raise SparsebenchError(
                f"The engine {name} does not compute in {precision}{only}.",
                f"{_able(precision)} Name each engine, with :fp32 behind those that stay as they "
                "are.",
            )
    if TWO_OF_FOUR in planned:
        _refuse_pattern(plan)
    for precision in plan.sweep.get("precision", ()):
        if precision not in planned:
            raise SparsebenchError(
                f"None of the plan's engines computes in {precision}.", _able(precision)
            )


def engines_to_add(plan: Plan, workload: str) -> list[str]:
    """Engines that a plan must be given for a workload; none where its own can do it.

    Args:
        plan: of other workloads.
        workload: one that it is asked for, too.
    """
    able = workload_of(workload).engines
    if able is None:
        return []
    try:
        _refuse_precisions(replace(plan, workloads=(workload,)))
    except SparsebenchError:
        return [able[0], *(name for name in able[1:] if name in Plan.engines)]
    return []


def _refuse_pattern(plan: Plan) -> None:
    """2:4 needs a GPU: say so where it was typed.

    Raises:
        SparsebenchError: there is none, or the plan does not take it.
    """
    if plan.device != "cuda":
        raise SparsebenchError(
            "The precision 2:4 runs on a GPU only, and this plan runs on the CPU.",
            "Add --device cuda, or leave 2:4 out.",
        )
    import torch

    if not torch.cuda.is_available():
        raise SparsebenchError(
            "The precision 2:4 runs on a GPU only, and PyTorch finds no CUDA device here.",
            "Leave it out, or take a machine with an NVIDIA GPU (Ampere or newer).",
        )


def _able(precision: str) -> str:
    able = [name for name in ENGINES if computes(name, precision)]
    return "These do: " + ", ".join(f"--engine {name}:{precision}" for name in able) + "."
