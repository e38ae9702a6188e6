"""``linear-cached``: extract every image's features once, then train a linear head on them.

One trial is the whole thing, end to end: read, decode, extract, train the head for all seeds
at once, evaluate. Cells of a block take their turns in a random order; each has a fresh
engine process that was compiled and verified before the clock starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sparsebench.bench.plan.settings import HeadSettings
from sparsebench.bench.plan.workload import Sizes
from sparsebench.bench.workloads.on_features import OnFeatures, head_epochs

if TYPE_CHECKING:
    from sparsebench.bench.plan.cells import Cell
    from sparsebench.bench.plan.plan import Plan
    from sparsebench.bench.records import Trial
    from sparsebench.bench.workloads.block_context import BlockContext, Running


@dataclass(frozen=True)
class CachedSettings(HeadSettings):
    """Linear heads on features that are extracted once.

    Attributes:
        prepared: start from images that an earlier run decoded and resized; the first run makes
            them outside the clock.
    """

    flat: ClassVar[Mapping[str, str]] = {**HeadSettings.flat, "prepared": "prepared"}
    prepared: bool = False


class LinearCached(OnFeatures):
    """Linear fine-tuning on features that are extracted once."""

    name = "linear-cached"
    usual_seconds = 6.0
    caption = "seconds: end to end, from loading the images to the evaluated network."
    settings = CachedSettings
    runs = "extracted"
    lends_accuracy = True
    whole_job = True
    counted = ("seeds", "epochs", "detection_epochs")
    accuracy_rank = 0

    @classmethod
    def identity(cls, plan: Plan) -> dict[str, Any]:
        """As :meth:`Workload.identity`; prepared images are no part of older identities."""
        prepared = plan.section(cls.name, CachedSettings).prepared
        return {**super().identity(plan), **({"prepared": True} if prepared else {})}

    @classmethod
    def recorded(cls, plan: Plan, cell: Cell) -> dict[str, Any]:
        """As :meth:`Workload.recorded`."""
        prepared = plan.section(cls.name, CachedSettings).prepared
        return {**super().recorded(plan, cell), **({"pictures": "prepared"} if prepared else {})}

    @classmethod
    def facts(cls, plan: Plan, trials: Sequence[Trial]) -> dict[str, Any]:
        """Of the heads, a value a block: seconds an epoch, chosen weight decays.

        A sweep shares the stage with the schedule, and L-BFGS has no epochs: no time of one then.
        """
        from sparsebench.bench.heads.sweep import strongest

        own = plan.section(cls.name, CachedSettings)
        swept = [t.extra["weight_decays"] for t in trials if t.extra.get("weight_decays")]
        epochs = own.epochs if own.solver == "sgd" and not own.weight_decays else 0
        # A detection head has epochs of its own, and says them.
        epochs = next((t.extra["head"]["epochs"] for t in trials if _says_epochs(t)), epochs)
        seconds = [t.stages["head"] / epochs for t in trials if "head" in t.stages and epochs]
        chosen = [strongest({float(d): score for d, score in one.items()}) for one in swept]
        return {
            "head_seconds_per_epoch": seconds if epochs else None,
            "chosen_weight_decays": chosen or None,
        }

    @classmethod
    def work(cls, recorded: Mapping[str, Any], sizes: Sizes) -> dict[str, float]:
        """Images decoded and extracted; images x heads x epochs for the heads.

        A sweep trains a head for each strength, on what it does not hold out.
        """
        everything = float(sizes.train + sizes.test)
        swept = len(recorded.get("weight_decays", ())) * (1 - recorded.get("validation", 0.0))
        heads = sizes.train * (sizes.seeds + swept) * head_epochs(recorded)
        return {
            **dict.fromkeys(("decode", "extract", "store"), everything),
            "head": heads,
            "evaluate": float(sizes.test * sizes.seeds),
        }

    def run_block(self, running: Sequence[Running], context: BlockContext) -> None:
        """One end-to-end trial of every cell."""
        from sparsebench.bench.machine.energy import joules_per_image, read_energy
        from sparsebench.bench.records import ENGINE_IMAGES, utc_now
        from sparsebench.bench.workloads.block_context import failures_become_trials, make_trial
        from sparsebench.bench.workloads.linear_head import fit_and_score

        own = context.plan.section(self.name, CachedSettings)
        dead: set[str] = set()
        context.turns.begin()
        for place, index in enumerate(context.order(len(running), self.name)):
            one = running[index]
            context.say(one.cell.label)
            context.turns.pass_on()
            started = utc_now()
            with failures_become_trials(one, context, place, dead):
                # The first call after a pause is an engine's slowest; it belongs to no trial.
                one.worker.run(one.prepared.images)
                energy = read_energy()
                fitted = fit_and_score(one, context, own, fresh=True, prepared=own.prepared)
                images = len(context.task.train) + len(context.task.test)
                trial = make_trial(
                    one,
                    context,
                    order=place,
                    started=started,
                    seconds=[fitted.clock.total],
                    items=images,
                    stages=fitted.clock.seconds,
                    accuracy=fitted.accuracy,
                    process_seconds=[fitted.clock.process_seconds],
                    run_delay_seconds=[fitted.clock.run_delay_seconds],
                    extra={
                        **one.memory(),
                        **joules_per_image(energy, images),
                        "busy_seconds": fitted.clock.busy_seconds,
                        ENGINE_IMAGES: images,
                        **fitted.extra,
                        **context.keep(one.cell, fitted.outcomes),
                        "weight_decays": {f"{k:g}": v for k, v in fitted.weight_decays.items()},
                    },
                )
                context.emit(trial)
        context.turns.end()


def _says_epochs(trial: Trial) -> bool:
    return "epochs" in (trial.extra.get("head") or {})
