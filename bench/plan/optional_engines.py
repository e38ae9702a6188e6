"""Rivals that only some machines have: ``torch:bf16?`` in a plan.

A processor without bf16 instructions computes bf16 in emulation: on one of them (Intel Xeon, Ice
Lake) a training took 1.6 times as long as in fp32, and a plan that races the two took twice its
time. The question mark leaves such a cell out there; without it the cell is measured anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.plan import OPTIONAL, Plan, engine_and_precision

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}


def present(entries: Iterable[str], plan: Plan) -> list[str]:
    """The entries that this machine can be asked for, without their question marks."""
    return [entry.rstrip(OPTIONAL) for entry in entries if not _emulated(entry, plan)]


def left_out(plan: Plan) -> list[str]:
    """A sentence for each entry of the plan's workloads that this machine is not asked for."""
    entries = [
        entry
        for workload in plan.workloads
        for entry in plan.workload_engines.get(workload, plan.engines)
    ]
    return [
        f"{entry.rstrip(OPTIONAL)} is left out: this processor has no instructions for bf16 and "
        f"would emulate them. `--engine {entry.rstrip(OPTIONAL)}` measures it all the same."
        for entry in dict.fromkeys(entries)
        if _emulated(entry, plan)
    ]


def _emulated(entry: str, plan: Plan) -> bool:
    if not entry.endswith(OPTIONAL) or plan.device != "cpu":
        return False
    bf16 = engine_and_precision(entry, plan)[1] == "bf16"
    return bf16 and not _BF16 & set(machine_facts()["isa"] or ())
