"""Engines that only some machines have: ``torch:bf16?`` in a plan.

A processor without bf16 instructions computes bf16 in emulation: on one of them (Intel Xeon, Ice
Lake) a training took 1.6 times as long as in fp32, and a plan that races the two took twice its
time. The question mark leaves such a cell out there; without it the cell is measured anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.entries import EngineEntry
from sparsebench.bench.plan.plan import Plan

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def present(entries: Iterable[str], plan: Plan) -> list[EngineEntry]:
    """The entries that this machine can be asked for."""
    return [entry for entry in map(EngineEntry.parse, entries) if not _emulated(entry, plan)]


def left_out(plan: Plan) -> list[str]:
    """A sentence for each entry of the plan's workloads that this machine is not asked for."""
    texts = [text for workload in plan.workloads for text in plan.engines_of(workload)]
    texts += plan.dense_engines
    return [
        f"{entry} is left out: this processor has no instructions for bf16 and "
        f"would emulate them. `--engine {entry}` measures it all the same."
        for entry in map(EngineEntry.parse, dict.fromkeys(texts))
        if _emulated(entry, plan)
    ]


def _emulated(entry: EngineEntry, plan: Plan) -> bool:
    if not entry.optional or plan.device != "cpu":
        return False
    bf16 = entry.resolved(plan.precision)[1] == "bf16"
    return bf16 and not _BF16 & set(machine_facts()["isa"] or ())
