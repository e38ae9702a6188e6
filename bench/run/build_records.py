"""From the trials of finished cells to their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

from sparsebench.bench.comparisons.dense import REFERENCE_PRECISION
from sparsebench.bench.comparisons.latency import latency_json
from sparsebench.bench.forecast import Earlier, predict
from sparsebench.bench.machine.energy import JOULES
from sparsebench.bench.machine.facts import machine_facts, package_versions
from sparsebench.bench.machine.hardware import clock_facts, gpu_facts
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.records import (
    CORRECT,
    DETECTION,
    MODEL_BYTES,
    OPTIMUM,
    PEAK_MEMORY,
    SCORED_ON,
    Accuracy,
    BackboneInfo,
    EngineInfo,
    OutcomesFile,
    Proof,
    Record,
    RunFolder,
    TaskInfo,
    Trial,
    of_seeds,
    utc_now,
)
from sparsebench.bench.run.heat import HEAT
from sparsebench.bench.run.ledger import SKIPPED, Ledger
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.kinds import CLASSIFICATION, TaskKind
from sparsebench.bench.training.training_facts import best_epoch_scores, training_facts
from sparsebench.bench.workloads.prepared_backbone import Prepared
from sparsebench.bench.workloads.session import RECOMPILED
from sparsebench.models.onnx_file.backbone import OnnxBackbone

# One-off costs and engine facts that trials carry in `extra`, by what a record calls them.
ONE_OFF = ("compile_seconds", "export_seconds")

FindPrepared = Callable[[Cell], Prepared | None]


def finish_cells(
    folder: RunFolder,
    ledger: Ledger,
    plan: Plan,
    task: Task,
    cells: Sequence[Cell],
    find: FindPrepared,
    earlier: Earlier,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write the record of every cell that has none yet, or a failed one.

    Args:
        folder: the run.
        ledger: its trials.
        plan: its resolved plan.
        task: the opened task of the cells.
        cells: cells whose blocks are over.
        find: what was prepared for a cell, None where that failed.
        earlier: what was measured here before the run, for the forecast beside the measurement.
        facts: cell id -> what else its record's `extra` says of its blocks.
    """
    trials = {cell.id: ledger.trials(cell.id) for cell in cells}
    for cell in cells:
        mine, good = trials[cell.id], ledger.good_trials(cell)
        if ledger.finished.get(cell.id) == len(good):
            continue
        lender = _lender(cell, cells, trials)
        prepared = find(cell)
        more: dict[str, Any] = {
            "discarded": sum(trial.status == "discarded" for trial in mine),
            **(facts or {}).get(cell.id, {}),
            **_forecast(plan, cell, task, earlier),
        }
        record = _record(folder, plan, task, cell, mine, lender, prepared)
        if (latency := latency_json(record)) is not None:
            more["latency"] = latency
        folder.append_record(replace(record, extra={**record.extra, **more}))


def _record(
    folder: RunFolder,
    plan: Plan,
    task: Task,
    cell: Cell,
    mine: Sequence[Trial],
    lender: Sequence[Trial],
    prepared: Prepared | None,
) -> Record:
    good = sorted((t for t in mine if t.status == "ok"), key=lambda trial: trial.block)
    complete = len({trial.block for trial in good}) >= plan.repeats
    reason = None
    status, left_out = "ok" if complete else "failed", {}
    if not complete:
        failed = [trial for trial in mine if trial.status in ("failed", SKIPPED)]
        reason = failed[-1].reason if failed else "it was not measured in every block"
        if failed and failed[-1].status == SKIPPED:
            status, left_out = SKIPPED, {HEAT: failed[-1].extra.get(HEAT)}
    facts: Mapping[str, Any] = good[-1].extra if good else {}
    scores = _scores(good, plan) or _scores(lender, plan)
    source = good if _scores(good, plan) else lender
    kept = [
        OutcomesFile.from_json(trial.extra[CORRECT], folder.path)
        for trial in source
        if CORRECT in trial.extra
    ]
    return Record(
        id=cell.id,
        run=folder.name,
        created=utc_now(),
        status=status,
        reason=reason,
        workload=cell.workload,
        task=TaskInfo(
            name=task.name,
            classes=len(task.classes),
            train=len(task.train),
            test=len(task.test),
            metric=task.metric,
            sha256=task.sha256,
        ),
        backbone=_backbone(cell, prepared),
        engine=_engine(cell, facts),
        machine=_machine(cell.device),
        trials=tuple(trial.times for trial in good) if complete else (),
        accuracy=_accuracy(task.metric, scores, good, kept) if scores and complete else None,
        proof=_proof(cell, facts, prepared),
        packages=_packages(),
        division=division(cell.precision),
        settings=_settings(plan, cell, task.kind),
        extra={
            **left_out,
            **{
                key: [trial.extra[key] for trial in good]
                for key in ONE_OFF
                if good and key in good[0].extra
            },
            "verification": facts.get("verification"),
            "engine": facts.get("engine"),
            "quantisation": facts.get("quantisation"),
            **({RECOMPILED: count} if (count := _recompiled(good)) else {}),
            "affinity": facts.get("affinity"),
            "openmp": facts.get("openmp"),
            "head": facts.get("head"),
            **({DETECTION: found} if (found := of_seeds(source, DETECTION, plan.seeds)) else {}),
            OPTIMUM: _first_of(source, OPTIMUM),
            **({SCORED_ON: told} if (told := _first_of(source, SCORED_ON)) else {}),
            "exporter": _exporter(prepared),
            "onnx_file": _onnx_file(prepared),
            "checkpoint": _checkpoint(prepared),
            "bytes_ratio": prepared.bytes_ratio if prepared else None,
            MODEL_BYTES: prepared.model_bytes if prepared else None,
            JOULES: [trial.extra.get(JOULES) for trial in good],
            "task_skipped": len(task.skipped),
            "task_left_out": task.losses.to_json() or None,
            "accuracy_from": lender[0].cell if lender and not _scores(good, plan) else None,
            **training_facts(good),
            PEAK_MEMORY: max(
                (t.extra[PEAK_MEMORY] for t in good if PEAK_MEMORY in t.extra), default=None
            ),
            **workload_of(cell.workload).facts(plan, good),
        },
    )


def _recompiled(trials: Sequence[Trial]) -> int:
    """In how many blocks the engine computed NaN at first, and was compiled once more."""
    return sum(bool(trial.extra.get(RECOMPILED)) for trial in trials)


def _first_of(trials: Sequence[Trial], key: str) -> Any:
    """What the first trial that has something under a key of its `extra` says there."""
    return next((t.extra[key] for t in trials if t.extra.get(key)), None)


def _forecast(plan: Plan, cell: Cell, task: Task, earlier: Earlier) -> dict[str, Any]:
    name = task.name.removesuffix(f":{plan.limit}")
    found = predict(plan, cell, len(task.train), len(task.test), name, earlier, task.kind)
    said = {"predicted_seconds": found.seconds, "predicted_whole_seconds": found.whole}
    known = {key: value for key, value in said.items() if value is not None}
    return {**known, "prediction_basis": found.basis}


def _scores(trials: Sequence[Trial], plan: Plan) -> dict[int, float] | None:
    """Accuracy by seed. A seed fixes everything, so the first trial that has it counts."""
    found: dict[int, float] = {}
    for trial in trials:
        if trial.accuracy_per_seed is not None:
            seeds = trial.extra.get("seeds", plan.seeds)
            for seed, accuracy in zip(seeds, trial.accuracy_per_seed, strict=True):
                found.setdefault(int(seed), accuracy)
    return found or None


def _accuracy(
    metric: str,
    scores: Mapping[int, float],
    good: Sequence[Trial],
    kept: Sequence[OutcomesFile],
) -> Accuracy:
    best = best_epoch_scores(good)
    seeds = sorted(scores)
    return Accuracy.of(
        metric,
        [scores[seed] for seed in seeds],
        seeds,
        [best[seed] for seed in seeds] if best and set(best) >= set(seeds) else None,
        kept,
    )


def _lender(
    cell: Cell, cells: Sequence[Cell], trials: Mapping[str, Sequence[Trial]]
) -> Sequence[Trial]:
    """Trials on the same engine, whose accuracy is that of its features."""
    if not workload_of(cell.workload).borrows_accuracy:
        return []
    for other in cells:
        if other.worker == cell.worker and workload_of(other.workload).lends_accuracy:
            return [trial for trial in trials.get(other.id, ()) if trial.status == "ok"]
    return []


def _backbone(cell: Cell, prepared: Prepared | None) -> BackboneInfo:
    card = cell.card
    return BackboneInfo(
        name=card.name,
        arch=card.arch,
        method=card.method,
        family=card.family,
        sparsity=card.sparsity,
        trained=card.trained,
        measured_sparsity=prepared.measured_sparsity if prepared else None,
        flops_ratio=prepared.flops_ratio if prepared else None,
        sha256=prepared.backbone.sha256 if prepared else None,
        licence=card.licence,
        dense_partner=cell.dense,
        budget=asdict(card.budget) if card.budget else None,
    )


def _exporter(prepared: Prepared | None) -> dict[str, Any] | None:
    """What wrote the file that ONNX engines read, its opset, and why not the newer exporter."""
    if prepared is None or isinstance(prepared.backbone, OnnxBackbone):
        return None
    facts = prepared.artifact.facts
    return {
        "name": facts["exporter"],
        "opset": facts["opset"],
        "instead": facts.get("exporter_instead") or None,
    }


def _onnx_file(prepared: Prepared | None) -> dict[str, Any] | None:
    """Where a user's ONNX file was cut, what it was compared with, what was assumed of it."""
    if prepared is None or not isinstance(prepared.backbone, OnnxBackbone):
        return None
    facts = prepared.artifact.facts
    return {
        "features": facts["cut"],
        "place": facts["place"],
        "batch_size": facts["batch_size"],
        "classifier": facts["classifier"],
        "opset": facts["opset"],
        "quantized": prepared.backbone.quantized,
        "verified_against": prepared.reference.computed_by,
        "notes": prepared.backbone.card.notes,
    }


def _checkpoint(prepared: Prepared | None) -> dict[str, str] | None:
    """What reading a user's checkpoint found out: entries taken, masks applied, what is unused."""
    if prepared is None or isinstance(prepared.backbone, OnnxBackbone):
        return None
    return dict(prepared.backbone.said) or None


def _engine(cell: Cell, facts: Mapping[str, Any]) -> EngineInfo:
    described = facts.get("engine", {})
    session = described.get("describe", {})
    return EngineInfo(
        name=cell.engine,
        device=cell.device,
        precision=cell.precision,
        threads=cell.threads,
        batch_size=cell.batch_size,
        version=described.get("version"),
        options=dict(cell.settings.options),
        supported_fraction=session.get("supported_fraction"),
    )


def division(precision: str) -> str:
    """``closed`` for the checkpoint's own arithmetic, ``open`` for any other precision."""
    return "closed" if precision == REFERENCE_PRECISION else "open"


def _proof(cell: Cell, facts: Mapping[str, Any], prepared: Prepared | None) -> Proof | None:
    if prepared is None:
        return None
    verified = facts.get("verification", {})
    # Where only a head is trained, the backbone's weights, and so its mask, stay the file's.
    after: str | None = prepared.reference.onnx_mask
    if workload_of(cell.workload).trains_backbone:
        after = facts.get("after_training_mask")
    return Proof(
        checkpoint_mask=prepared.reference.checkpoint_mask,
        onnx_mask=prepared.reference.onnx_mask,
        after_training_mask=after,
        max_abs_error=verified.get("max_abs_error"),
        argmax_agreement=verified.get("argmax_agreement"),
    )


def _settings(plan: Plan, cell: Cell, kind: TaskKind = CLASSIFICATION) -> dict[str, Any]:
    """What else must match between baselines."""
    settings: dict[str, Any] = {
        "size": cell.size,
        "input": "real pictures",  # must match older records
        **workload_of(cell.workload).recorded_on(plan, cell, kind),
    }
    if plan.limit:
        settings["limit"] = plan.limit
    return settings


@cache
def _machine(device: str) -> dict[str, Any]:
    # Records of a GPU are compared with those of the same one only.
    return {**machine_facts(gpus=device != "cpu"), "clock": clock_facts(), "gpu_state": gpu_facts()}


@cache
def _packages() -> dict[str, str | None]:
    return dict(package_versions())
