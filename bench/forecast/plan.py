"""The forecast of a whole plan: its cells with their times, and how they grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.cells import Cell, expand
from bench.forecast.model import Prediction, predict
from bench.forecast.rates import Rates, rates_path
from bench.forecast.work import Amounts
from bench.machine import machine_facts
from bench.plans import Plan
from bench.tasks import open_task
from bench.training.recipe import recipe_of


@dataclass(frozen=True)
class Planned:
    """A cell and what it will take."""

    cell: Cell
    prediction: Prediction


@dataclass(frozen=True)
class Forecast:
    """What a plan will take.

    Attributes:
        cells: all of them, in the plan's order.
        grown: what is doubled -> seconds of the whole plan then.
    """

    cells: tuple[Planned, ...]
    grown: dict[str, float]

    @property
    def seconds(self) -> float:
        """Of the whole plan."""
        return sum(one.prediction.whole for one in self.cells)

    @property
    def measured(self) -> int:
        """Cells whose rate was measured on this machine."""
        return sum(one.prediction.basis == "measured" for one in self.cells)


def forecast(plan: Plan, say: Callable[[str], None] = lambda text: None) -> Forecast:
    """Predict a plan. Tasks are opened to count their pictures; nothing is measured.

    Args:
        plan: resolved and checked.
        say: told what is being done.

    Raises:
        SparsebenchError: a task or backbone that cannot be had.
    """
    rates = Rates.load(rates_path(str(machine_facts()["fingerprint"])))
    sizes = {}
    for name in plan.tasks:
        say(f"opening {name}")
        task = open_task(
            name,
            data_dir=plan.data_dir or None,
            strict=plan.strict,
            limit=plan.limit or None,
            metric=plan.metric or None,
        )
        sizes[name] = (len(task.train), len(task.test))
    cells = expand(plan)

    def whole(pictures: int = 1, epochs: int = 1, seeds: int = 1) -> list[Planned]:
        planned = []
        for cell in cells:
            train, test = sizes[cell.task]
            amounts, trainings = amounts_for(plan, cell, pictures * train, pictures * test)
            grown = Amounts(
                amounts.train,
                amounts.test,
                amounts.epochs * epochs,
                amounts.seeds * (seeds if cell.workload == "linear-cached" else 1),
                amounts.validation,
                amounts.solver,
            )
            blocks = trainings * seeds if trainings else plan.repeats
            planned.append(Planned(cell, predict(cell, grown, blocks, plan.min_seconds, rates)))
        return planned

    def seconds(planned: list[Planned]) -> float:
        return sum(one.prediction.whole for one in planned)

    return Forecast(
        tuple(whole()),
        {
            "pictures": seconds(whole(pictures=2)),
            "epochs": seconds(whole(epochs=2)),
            "seeds": seconds(whole(seeds=2)),
        },
    )


def amounts_for(plan: Plan, cell: Cell, train: int, test: int) -> tuple[Amounts, int]:
    """Sizes of one trial of a cell, and how many trainings it has in all blocks (0: blocks)."""
    if cell.workload in ("linear-online", "full"):
        epochs = recipe_of(plan, cell).epochs
        amounts = Amounts(train, test, epochs, validation=plan.validation)
        return amounts, max(plan.repeats, len(plan.seeds))
    return Amounts(train, test, plan.epochs, len(plan.seeds), solver=plan.solver), 0
