"""Advice as plain facts, for --json: everything that the words say."""

from __future__ import annotations

import math
from typing import Any

from sparsebench.bench.comparisons import ratio_of_cells
from sparsebench.bench.decide.advise import Advice, Answer
from sparsebench.bench.decide.candidates import INFERENCE, Candidate
from sparsebench.bench.decide.choice import CALLS_WITHIN, Choice
from sparsebench.bench.decide.flips import Flip
from sparsebench.bench.decide.retraining import Retraining
from sparsebench.bench.decide.uncertain import Uncertain
from sparsebench.bench.records.plain import plain
from sparsebench.bench.statistics.intervals import CONFIDENCE, t_quantile


def advice_json(advice: Advice) -> dict[str, Any]:
    """A dictionary that JSON can hold."""
    question = advice.question
    found = {
        "question": {
            "max_accuracy_loss_points": question.limits.max_accuracy_loss,
            "latency_seconds": question.limits.latency,
            "production": question.limits.production,
            "batch_size": question.batch_size,
            "retrain_every_seconds": question.retrain_every,
            "reference": question.reference,
        },
        "machine": advice.machine,
        "exit_code": advice.exit_code,
        "answers": [_answer(one) for one in advice.answers],
        "excluded": [{"cell": name, "reason": reason} for name, reason in advice.excluded],
    }
    made: dict[str, Any] = plain(found)
    return made


def interval(value: Uncertain) -> tuple[float, float] | None:
    """The 95 % interval of a number; None without an error."""
    if value.error is None:
        return None
    if value.error == 0 or math.isinf(value.degrees):
        half = 1.959963984540054 * value.error
    else:
        half = t_quantile(0.5 + CONFIDENCE / 2, value.degrees) * value.error
    return value.mid - half, value.mid + half


def ratio(one: Candidate, over: Candidate) -> tuple[float, tuple[float, float] | None]:
    """Time of `over` divided by the time of `one`, with its 95 % interval."""
    if one.run == over.run:  # as the tables print it
        paired = ratio_of_cells(over.times, one.times)
        if paired is not None:
            return paired.median, paired.ci95
    log = over.log_time_over(one)
    ends = interval(log)
    return math.exp(log.mid), None if ends is None else (math.exp(ends[0]), math.exp(ends[1]))


def _answer(answer: Answer) -> dict[str, Any]:
    choice = answer.choice
    return {
        "workload": answer.workload,
        "task": answer.task,
        "batch_size": answer.batch_size,
        "unmeasured": answer.unmeasured or None,
        "measure": answer.measure or None,
        **({} if choice is None else _choice(choice, answer.dense)),
        "changes": [_flip(flip) for flip in answer.flips],
        "same_answer_at_batch_sizes": list(answer.same_batches),
        "retraining": [_retraining(one) for one in answer.retraining],
    }


def _choice(choice: Choice, dense: Candidate | None) -> dict[str, Any]:
    return {
        "take": None if choice.winner is None else _candidate(choice.winner, dense),
        "runner_up": None if choice.runner_up is None else _candidate(choice.runner_up, dense),
        "confidence": choice.confidence,
        "loses_too_much": [_candidate(one, dense) for one in choice.too_inaccurate],
        "too_slow": [_candidate(one, dense) for one in choice.too_slow],
        "licence_forbids": [
            {"variant": one.name, "licence": one.facts.licence} for one in choice.unlicensed
        ],
    }


def _candidate(one: Candidate, dense: Candidate | None) -> dict[str, Any]:
    record = one.record
    facts: dict[str, Any] = {
        "backbone": record.backbone.name,
        "engine": record.engine.name,
        "device": record.engine.device,
        "precision": record.engine.precision,
        "threads": record.engine.threads,
        "batch_size": record.engine.batch_size,
        "record": record.id,
        "run": one.run,
        "seconds_per_picture": one.seconds(),
        "loss_points": one.loss.mid,
        "loss_ci95": interval(one.loss),
        "engine_licence": one.facts.licence,
        "engine_support": one.facts.support,
        "production": one.facts.production,
        "weights_licence": record.backbone.licence,
    }
    if record.workload == INFERENCE:
        facts["call_seconds"] = one.whole_seconds()
        facts["call_seconds_p95"] = one.call_seconds(CALLS_WITHIN)
    else:
        facts["seconds"] = one.whole_seconds()
    if dense is not None:
        point, ends = ratio(one, dense)
        facts["over_best_dense"] = {"dense": dense.name, "ratio": point, "ci95": ends}
    return facts


def _flip(flip: Flip) -> dict[str, Any]:
    winner = None if flip.winner is None else flip.winner.name
    return {"what": flip.what, "when": flip.when, "value": flip.value, "take": winner}


def _retraining(found: Retraining) -> dict[str, Any]:
    def one(candidate: Candidate | None) -> dict[str, Any] | None:
        if candidate is None:
            return None
        training = found.training[candidate.record.id]
        return {
            "variant": candidate.name,
            "train_on": training.record.engine.name,
            "training_seconds": training.whole_seconds(),
            "seconds_per_picture": candidate.seconds(),
            "pictures_per_period": found.served(candidate),
        }

    return {
        "workload": found.workload,
        "period_seconds": found.period,
        "take": one(found.choice.winner),
        "runner_up": one(found.choice.runner_up),
        "confidence": found.choice.confidence,
        "changes_at_period_seconds": found.overtaken,
        "training_longer_than_the_period": [x.name for x in found.never],
    }
