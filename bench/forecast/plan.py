"""The forecast of a whole plan: its cells with their times, and how they grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sparsebench.bench.forecast.model import Prediction, predict
from sparsebench.bench.forecast.rates import Rates, rates_path
from sparsebench.bench.forecast.work import Amounts
from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.recipe import recipe_of
from sparsebench.models.zoo import find_card

STEPWISE = ("linear-online", "full")
"""Workloads that train step by step: a seed is a training of its own."""


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
        sizes[name] = (len(task.train), len(task.test), task.sha256)
    cells = expand(plan)

    def whole(pictures: int = 1, epochs: int = 1, seeds: int = 1) -> list[Planned]:
        planned = []
        for cell in cells:
            train, test, digest = sizes[cell.task]
            amounts = amounts_for(plan, cell, pictures * train, pictures * test, digest)
            grown = replace(
                amounts,
                epochs=amounts.epochs * epochs,
                seeds=amounts.seeds * (seeds if cell.workload == "linear-cached" else 1),
            )
            planned.append(Planned(cell, predict_in(plan, cell, cells, grown, rates, seeds)))
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


def predict_in(
    plan: Plan, cell: Cell, cells: Sequence[Cell], amounts: Amounts, rates: Rates, seeds: int = 1
) -> Prediction:
    """Predict a cell in its plan.

    Args:
        plan: resolved.
        cell: one of `cells`.
        cells: that are measured beside it, others of the plan among them.
        amounts: of the cell.
        rates: of this machine.
        seeds: times as many as the plan has.
    """
    stepwise = cell.workload in STEPWISE
    beside = [one for one in cells if one.workload == cell.workload and one.task == cell.task]
    engines = [one for one in cells if one.workload != "full" and one.id != cell.id]
    arch = find_card(cell.backbone).arch
    return predict(
        cell,
        amounts,
        plan.repeats,
        plan.min_seconds,
        rates,
        trainings=max(plan.repeats, len(plan.seeds)) * seeds if stepwise else 0,
        together=sum(find_card(one.backbone).arch == arch for one in beside),
        shared=1 + sum((one.task, one.worker) == (cell.task, cell.worker) for one in engines),
        tune=plan.tune == "on",
    )


def amounts_for(plan: Plan, cell: Cell, train: int, test: int, digest: str) -> Amounts:
    """Sizes of one trial of a cell: pictures, and the digest of its task."""
    if cell.workload in STEPWISE:
        epochs = recipe_of(plan, cell).epochs
        return Amounts(
            train,
            test,
            epochs,
            validation=plan.validation,
            task=digest,
            deterministic=plan.deterministic and cell.workload == "full",
        )
    return Amounts(
        train,
        test,
        plan.epochs,
        len(plan.seeds),
        validation=plan.validation if plan.weight_decays else 0.0,
        solver=plan.solver,
        strengths=len(plan.weight_decays),
        prepared=plan.prepared,
        task=digest,
    )
