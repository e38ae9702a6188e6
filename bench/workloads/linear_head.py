"""The linear head on an engine's features: extraction, training and evaluation, staged."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from bench.features import FeatureKey
from bench.heads import evaluate, fit_heads
from bench.heads.recipe import LinearRecipe
from bench.plans import Plan
from bench.stages import StageClock
from bench.workloads.base import BlockContext, Running


@dataclass(frozen=True)
class Fitted:
    """A trained and evaluated head.

    Attributes:
        clock: the stopped stage clock of the whole.
        accuracy: one a seed, fractions 0-1, on the test pictures.
    """

    clock: StageClock
    accuracy: tuple[float, ...]


def fit_and_score(one: Running, context: BlockContext, *, fresh: bool = False) -> Fitted:
    """Features through the engine, heads for all seeds, accuracy on the test pictures.

    Args:
        one: cell at work; its worker extracts.
        context: block, with task, plan and cache.
        fresh: extract even if the features are cached, because the extraction is timed.

    Raises:
        WorkerFailed: the engine died.
        SparsebenchError: unreadable pictures, a full disk, a diverging head.
    """
    clock = StageClock()
    task = context.task
    features = {
        split: context.cache.get_or_extract(
            feature_key(one, context, split),
            task,
            split,
            one.prepared.preprocessing,
            lambda: nullcontext(one.worker),
            clock=clock,
            fresh=fresh,
            workers=one.cell.threads,
        ).array
        for split in ("train", "test")
    }
    with clock.stage("head"):
        heads = fit_heads(
            features["train"],
            task.train.labels,
            len(task.classes),
            seeds=context.plan.seeds,
            recipe=recipe(context.plan),
            threads=one.cell.threads,
        )
    with clock.stage("evaluate"):
        scores = evaluate(heads, features["test"], task.test.labels, task.metric)
    clock.stop()
    return Fitted(clock, tuple(score / 100 for score in scores.accuracy))


def feature_key(one: Running, context: BlockContext, split: str) -> FeatureKey:
    """Everything that the features of a split depend on."""
    engine = one.facts["engine"]
    return FeatureKey(
        weights_sha256=one.prepared.backbone.sha256,
        mask_sha256=one.prepared.reference.onnx_mask,
        preprocessing=one.prepared.preprocessing,
        task_sha256=context.task.sha256,
        split=split,
        engine=one.cell.engine,
        engine_version=str(engine["version"]),
        precision=one.cell.precision,
        device=one.cell.device,
        options=dict(one.cell.settings.options),
    )


def recipe(plan: Plan) -> LinearRecipe:
    """The plan's recipe for the head."""
    return LinearRecipe(epochs=plan.epochs, solver=plan.solver)
