"""What the workloads share that train step by step: seeds dealt over blocks, a recipe, epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from sparsebench.bench.plan.settings import Settings, TrainingSettings
from sparsebench.bench.plan.workload import Sizes, Workload

if TYPE_CHECKING:
    from sparsebench.bench.plan.cells import Cell
    from sparsebench.bench.plan.plan import Plan


class Stepwise(Workload):
    """A workload whose trial is one training for each seed of its block."""

    settings: ClassVar[type[Settings]] = TrainingSettings
    caption = "seconds: end to end, from loading the images to the evaluated network."
    seeded = True
    deals_seeds = True
    whole_job = True
    counted = ("seeds", "training", "validation", "target_margin")

    @classmethod
    def identity(cls, plan: Plan) -> dict[str, Any]:
        """As :meth:`Workload.identity`, under the names of older runs."""
        own = plan.section(cls.name, TrainingSettings)
        return {
            "seeds": list(plan.seeds),
            "recipe": own.recipe,
            "train_epochs": own.epochs,
            "lr": own.lr,
            "validation": own.validation,
            "repeats": plan.dealt_over,
        }

    @classmethod
    def recorded(cls, plan: Plan, cell: Cell) -> dict[str, Any]:
        """As :meth:`Workload.recorded`: the recipe that was resolved for the task."""
        from sparsebench.bench.training.recipe import recipe_of

        own = plan.section(cls.name, TrainingSettings)
        return {
            "seeds": list(plan.seeds),
            "training": asdict(recipe_of(plan, cell)),
            "validation": own.validation,
            "target_margin": own.target_margin,
        }

    @classmethod
    def work(cls, recorded: Mapping[str, Any], sizes: Sizes) -> dict[str, float]:
        """Images decoded and evaluated; images x epochs for each step's stages."""
        held = sizes.train * float(recorded["validation"])
        epochs = int(recorded["training"]["epochs"])
        steps = (sizes.train - held) * epochs
        return {
            "decode": sizes.train + sizes.test,
            "evaluate": held * epochs + sizes.test,
            **dict.fromkeys(("augment", "extract", "head", "forward", "backward"), steps),
            "optimizer": steps,
        }

    @classmethod
    def trainings(cls, plan: Plan) -> int:
        """Trainings in all blocks of a plan."""
        return max(plan.repeats, len(plan.seeds))


def seeds_of_block(plan: Plan, block: int) -> tuple[int, ...]:
    """The seeds that step-by-step training takes in a block: all are dealt over the blocks.

    So every block is one more seed as well as one more time. With more blocks than seeds they
    begin again.
    """
    dealt = plan.seeds[block :: plan.repeats]
    return dealt or (plan.seeds[block % len(plan.seeds)],)
