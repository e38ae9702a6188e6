"""Engines that only some machines have: ``torch:bf16?`` and ``native:int8?`` in a plan.

A processor without bf16 instructions computes bf16 in emulation: on one of them (Intel Xeon, Ice
Lake) a training took 1.6 times as long as in fp32, and a plan that races the two took twice its
time. The question mark leaves such a cell out there; without it the cell is measured anywhere. INT8
on ``native`` does not exist at all where the processor lacks the instructions.
"""

from __future__ import annotations

from collections.abc import Iterable

from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.entries import PRECISIONS, TWO_OF_FOUR, EngineEntry
from sparsebench.bench.plan.plan import Plan
from sparsebench.models.errors import UnknownNameError

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def present(entries: Iterable[str], plan: Plan) -> list[EngineEntry]:
    """The entries that this machine can be asked for."""
    return [entry for entry in map(EngineEntry.parse, entries) if not _why_not(entry, plan)]


def pairs(entries: Iterable[str], plan: Plan, *, trains: bool = False) -> list[tuple[str, str]]:
    """Engine and precision of each entry that this machine can be asked for.

    Of a plan's list of precisions an engine takes those that it computes in.

    Args:
        entries: as a plan writes them.
        plan: resolved.
        trains: whether they are to train, which is not done in INT8 or 2:4.
    """
    wanted = plan.precisions
    return [
        (entry.name, precision)
        for entry in present(entries, plan)
        for precision in ([entry.precision] if entry.precision else wanted)
        if len(wanted) == 1 or entry.precision or computes(entry.name, precision, trains)
    ]


def computes(name: str, precision: str, trains: bool = False) -> bool:
    """Whether an engine computes in a precision; one that does not import is asked in its cell."""
    from sparsebench.exporters.worker.launch import ENGINES

    try:
        engine = ENGINES.load(name)
        found: tuple[str, ...] = tuple(engine.precisions)
        if trains:
            found = tuple(getattr(engine, "training_precisions", found))
    except Exception:  # it comes from elsewhere, and its cell says why
        found = PRECISIONS
    return precision in found and not (trains and precision in ("int8", TWO_OF_FOUR))


def optional_of(plan: Plan) -> set[tuple[str, str]]:
    """Engine and precision of each entry that a question mark makes optional."""
    texts = [text for workload in plan.workloads for text in plan.engines_of(workload)]
    entries = map(EngineEntry.parse, [*texts, *plan.dense_engines])
    return {entry.resolved(plan.precision) for entry in entries if entry.optional}


def why_no_boxes(plan: Plan, backbone: str) -> dict[tuple[str, str], str]:
    """The optional engines and precisions that do not run a backbone's detector, and why."""
    from sparsebench.exporters.worker.launch import ENGINES
    from sparsebench.models.architectures import find_architecture

    arch = backbone.partition("/")[0]
    try:
        if find_architecture(arch).grids is None:
            return {}
    except UnknownNameError:  # a file, or somebody's own
        return {}
    return {
        (name, precision): f"{name} does not run {arch} in {precision}."
        for name, precision in optional_of(plan)
        if precision in getattr(ENGINES.load(name), "precisions_without_yolo", ())
    }


def left_out(plan: Plan) -> list[str]:
    """A sentence for each entry of the plan's workloads that this machine is not asked for."""
    texts = [text for workload in plan.workloads for text in plan.engines_of(workload)]
    texts += plan.dense_engines
    return [
        f"{entry} is left out: {why}"
        for entry in map(EngineEntry.parse, dict.fromkeys(texts))
        if (why := _why_not(entry, plan))
    ]


def _why_not(entry: EngineEntry, plan: Plan) -> str:
    """Why an entry with a question mark is not asked for here, or nothing."""
    if not entry.optional or plan.device != "cpu":
        return ""
    precision = entry.resolved(plan.precision)[1]
    if precision == "bf16" and not _BF16 & set(machine_facts()["isa"] or ()):
        return (
            "this processor has no instructions for bf16 and would emulate them. "
            f"`--engine {entry}` measures it all the same."
        )
    if precision == "int8" and not computes(entry.name, precision):
        return f"{entry.name} has no kernels for int8 on this processor."
    return ""
