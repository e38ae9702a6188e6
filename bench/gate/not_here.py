"""Cells of a baseline that a lesser processor cannot be asked for.

A plan's ``native:int8?`` is measured where the processor has the instructions and left out
elsewhere (``bench.plan.optional_engines``). A baseline from a machine that has them names cells
that a run on another machine rightly lacks: they are left out of its check, and said to be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sparsebench.bench.plan.optional_engines import optional_of
from sparsebench.bench.plan.plan import load_plan
from sparsebench.bench.records import Record, RunFolder


def optional_pairs(folder: RunFolder) -> set[tuple[str, str]]:
    """Engine and precision of each entry with a question mark in a run's plan.

    Raises:
        SparsebenchError: its plan cannot be read.
    """
    path = folder.path / "plan.toml"
    return optional_of(load_plan(str(path))) if path.is_file() else set()


def not_here(
    optional: Collection[tuple[str, str]],
    records: Sequence[Record],
    machine: Mapping[str, Any],
) -> dict[tuple[str, str], str]:
    """Engine and precision -> why a run has none of their cells.

    Args:
        optional: what the run's plan leaves out where the processor lacks it.
        records: of the run, at least one.
        machine: of the baseline.

    Returns:
        Nothing where the run's processor can do all that the baseline's can: there a cell that is
        gone is missing.
    """
    lacking = set(machine.get("isa") or ()) - set(records[0].machine.get("isa") or ())
    if not lacking:
        return {}
    measured = {(record.engine.name, record.engine.precision) for record in records}
    without = ", ".join(sorted(lacking))
    return {
        pair: f"{':'.join(pair)} is left out on this processor (the baseline's has {without})"
        for pair in set(optional) - measured
    }
