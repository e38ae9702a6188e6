"""The linear head on an engine's features: extraction, training and evaluation, staged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads import evaluate, fit_heads
from sparsebench.bench.heads.features import FeatureKey
from sparsebench.bench.heads.kernel import find_kernel
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.bench.heads.scored import Scored, Scoring
from sparsebench.bench.heads.sweep import strongest, sweep
from sparsebench.bench.images import PreparedStore, ResizedImages
from sparsebench.bench.plan.settings import HeadSettings
from sparsebench.bench.records import OPTIMUM, Outcomes
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.kinds import CLASSIFICATION
from sparsebench.bench.workloads.block_context import BlockContext, Running
from sparsebench.bench.workloads.prepared_backbone import prepare
from sparsebench.bench.workloads.session import compile_session
from sparsebench.exporters.worker.client import EngineWorker
from sparsebench.exporters.worker.launch import start_worker
from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.registry import load_target

# Features times classes: L-BFGS multiplies them some hundred times, in seconds.
OPTIMUM_AT_MOST = 10**9


def fit_and_score(
    one: Running,
    context: BlockContext,
    settings: HeadSettings,
    *,
    fresh: bool = False,
    prepared: bool = False,
) -> Scored:
    """Features through the engine, heads for all seeds, their scores on the test images.

    Args:
        one: cell at work; its worker extracts.
        context: block, with task, plan and cache.
        settings: of the heads.
        fresh: extract even if the features are cached, because the extraction is timed.
        prepared: start from images that are decoded and resized already.

    Raises:
        WorkerFailed: the engine died.
        SparsebenchError: unreadable images, a full disk, a diverging head.
    """
    if prepared and context.task.kind is not CLASSIFICATION:
        raise SparsebenchError(
            f"Prepared images are cut for classification, not for {context.task.kind.name}.",
            "Leave out --prepared.",
        )
    if prepared:
        _prepare_images(one, context)  # a one-off, beside the clock
    task = context.task
    how = _ready_head(settings) if task.kind is CLASSIFICATION else {}  # likewise
    clock = one.clock()
    features = {
        split: context.cache.get_or_extract(
            feature_key(one, context, split),
            task,
            split,
            one.prepared.preprocessing,
            lambda: extractor(one, context),
            clock=clock,
            fresh=fresh,
            workers=one.cell.threads,
            source=_images(one, context, split, clock) if prepared else None,
        ).array
        for split in ("train", "test")
    }
    scored: Scored = load_target(task.kind.head)(
        features,
        Scoring(
            task=task,
            settings=settings,
            seeds=context.plan.seeds,
            threads=one.cell.threads,
            clock=clock,
            preprocessing=one.prepared.preprocessing,
            facts=one.prepared.artifact.facts,
            first=not context.earlier(one.cell),
            backbone=one.prepared.backbone,
        ),
    )
    return replace(scored, extra={**scored.extra, "head": {**how, **scored.extra["head"]}})


@contextmanager
def extractor(one: Running, context: BlockContext) -> Iterator[EngineWorker]:
    """The worker that extracts: the cell's own, or a fresh one where that runs a whole detector."""
    wanted = context.task.kind.extracted
    if one.prepared.artifact.output == wanted:
        yield one.worker
        return
    cell = one.cell
    prepared = prepare(
        cell.backbone,
        context.task,
        size=cell.size,
        batch_size=cell.batch_size,
        output=wanted,
        engines=one.prepared.engines,
    )
    with start_worker(
        cell.engine,
        threads=cell.threads,
        python=cell.settings.python,
        call_timeout=context.plan.call_timeout,
        progress=context.say,
    ) as worker:
        worker.ask_available()
        compile_session(worker, cell, prepared)
        yield worker


def score_linear(features: Mapping[str, NDArray[np.float32]], how: Scoring) -> Scored:
    """Linear heads for all seeds at once, and which test images each got right."""
    task, settings, clock = how.task, how.settings, how.clock
    chosen = recipe(settings)
    weight_decays: dict[float, float] = {}
    with clock.stage("head"):
        if settings.weight_decays:
            weight_decays = sweep(
                features["train"],
                task.train.labels,
                len(task.classes),
                chosen,
                settings.weight_decays,
                share=settings.validation,
                metric=task.metric,
                threads=how.threads,
            )
            chosen = replace(chosen, weight_decay=strongest(weight_decays))
        heads = fit_heads(
            features["train"],
            task.train.labels,
            len(task.classes),
            seeds=how.seeds,
            recipe=chosen,
            threads=how.threads,
        )
    with clock.stage("evaluate"):
        scores = evaluate(heads, features["test"], task.test.labels, task.metric)
    clock.stop()
    extra: dict[str, Any] = {"head": {"trained_by": heads.trained_by}}
    if chosen.solver == "sgd" and how.first:
        extra[OPTIMUM] = _optimum(features, task, chosen, how.threads)
    return Scored(
        clock,
        accuracy=tuple(score / 100 for score in scores.accuracy),
        outcomes=Outcomes(heads.seeds, scores.predictions == task.test.labels, task.test.labels),
        weight_decays=weight_decays,
        extra=extra,
    )


def _optimum(
    features: Mapping[str, NDArray[np.float32]], task: Task, chosen: LinearRecipe, threads: int
) -> float | None:
    """Accuracy (0-1) of the head that L-BFGS finds; None where that would take minutes."""
    if features["train"].size * len(task.classes) > OPTIMUM_AT_MOST:
        return None
    heads = fit_heads(
        features["train"],
        task.train.labels,
        len(task.classes),
        recipe=replace(chosen, solver="lbfgs", seeds=chosen.seeds[:1]),
        threads=threads,
    )
    return evaluate(heads, features["test"], task.test.labels, task.metric).accuracy[0] / 100


def _ready_head(settings: HeadSettings) -> dict[str, Any]:
    """Compile what trains the head unless it is there; facts, seconds that it took among them."""
    facts: dict[str, Any] = {"solver": settings.solver}
    if settings.solver == "sgd":
        start = time.perf_counter()
        facts["without_kernel"] = find_kernel().reason or None
        facts["ready_seconds"] = time.perf_counter() - start
    return facts


def _prepare_images(one: Running, context: BlockContext) -> None:
    for split in ("train", "test"):
        _images(one, context, split, StageClock())


def _images(one: Running, context: BlockContext, split: str, clock: StageClock) -> ResizedImages:
    """A split's prepared images."""
    store = PreparedStore(cache_dir("pictures"))
    return store.get_or_decode(
        context.task, split, one.prepared.preprocessing, workers=one.cell.threads, clock=clock
    )


def feature_key(one: Running, context: BlockContext, split: str) -> FeatureKey:
    """Everything that the features of a split depend on."""
    engine, quantisation = one.facts["engine"], one.facts.get("quantisation")
    options = dict(one.cell.settings.options)
    if quantisation:  # features depend on what was calibrated with
        options["quantisation"] = f"{quantisation['key']} {quantisation['form']}"
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
        options=options,
    )


def recipe(settings: HeadSettings) -> LinearRecipe:
    """The recipe for the heads."""
    return LinearRecipe(epochs=settings.epochs, solver=settings.solver)
