"""A plan's comparison groups, each as a plan of its own for one machine.

A group holds a baseline and all that is set against it, on every engine of the plan: every ratio
is formed inside one, so that a machine which measures a group whole measures all sides of its
ratios.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sparsebench.bench.plan.cells import Cell, launches
from sparsebench.bench.plan.plan import Plan
from sparsebench.models.cpus import threads_text
from sparsebench.models.zoo import find_card


@dataclass(frozen=True)
class Group:
    """Cells that are measured on one machine.

    Attributes:
        plan: stands for these cells alone; its threads, which are part of their identity, are
            named, whatever processors the other machine has.
        cells: of one task, architecture, size, batch size and number of threads.
    """

    plan: Plan
    cells: tuple[Cell, ...]

    @property
    def ids(self) -> set[str]:
        """Of its cells."""
        return {cell.id for cell in self.cells}

    @property
    def label(self) -> str:
        """What it is called in messages."""
        cell = self.cells[0]
        return (
            f"{cell.card.arch} on {cell.task}, {cell.size} px, batch size {cell.batch_size}, "
            f"{threads_text(cell.threads)}"
        )


def groups_of(plan: Plan, cells: Sequence[Cell]) -> list[Group]:
    """The comparison groups of a plan.

    Args:
        plan: with its baselines.
        cells: all of its cells.
    """
    cards = {name: find_card(name).name for name in (*plan.backbones, *plan.dense.values())}
    return [
        _group(plan, cards, tuple(group))
        for group in launches(list(cells), lambda cell: sys.maxsize)
    ]


def files_of(plan: Plan) -> list[str]:
    """Files and folders on this machine that a plan names, as it names them."""
    engines = [settings.python or "" for settings in plan.engine_settings.values()]
    backbones = [*plan.backbones, *plan.dense, *plan.dense.values()]
    behind = [name.rpartition("@")[2] for name in backbones if "@" in name]
    named = (*plan.tasks, *backbones, *behind, *engines, plan.data_dir)
    return [name for name in dict.fromkeys(named) if name and _exists(name)]


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long for a path, or a NUL in it
        return False


def _group(plan: Plan, cards: dict[str, str], cells: tuple[Cell, ...]) -> Group:
    first = cells[0]
    present = {cell.backbone for cell in cells}
    alone = replace(
        plan,
        tasks=(first.task,),
        backbones=tuple(name for name, card in cards.items() if card in present),
        threads=first.threads,
        batch_size=first.batch_size,
        size=first.size,
        sweep={key: values for key, values in plan.sweep.items() if key == "precision"},
    )
    return Group(alone, cells)
