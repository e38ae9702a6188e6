"""Answers as plain facts: `advise --json` and `report --json` share them."""

from __future__ import annotations

from typing import Any

from sparsebench.bench.comparisons.latency import latency_json
from sparsebench.bench.decide import Advice, Answer, Candidate, Retraining
from sparsebench.bench.decide.advice import Advised
from sparsebench.bench.decide.answers import CALLS_WITHIN, INFERENCE, Standing
from sparsebench.bench.decide.flips import Flip
from sparsebench.bench.present.decisions.sentences import Said, plain, said
from sparsebench.bench.present.tables.resources import resources_json
from sparsebench.bench.records import Estimate
from sparsebench.bench.records.plain import plain as plain_json


def advice_json(advice: Advice) -> dict[str, Any]:
    """A dictionary that JSON can hold: everything that the words say."""
    request = advice.request
    words = {one.answer.question: one for one in said(advice.study, request.limits)}
    found = {
        "question": {
            "max_accuracy_loss_points": request.limits.max_accuracy_loss,
            "confidence": request.limits.confidence,
            "latency_seconds": request.limits.latency,
            "production": request.limits.production,
            "batch_size": request.batch_size,
            "retrain_every_seconds": request.retrain_every,
            "reference": request.reference,
        },
        "machine": advice.machine,
        "exit_code": advice.exit_code,
        "answers": [
            *(_advised(one, words[one.answer.question]) for one in advice.answers),
            *(
                {
                    "workload": one.workload, "task": one.task, "tasks": [one.task],
                    "batch_size": one.batch_size, "kind": "unmeasured", "take": None,
                    "unmeasured": one.reason, "measure": one.measure,
                }
                for one in advice.missing
            ),
        ],
        "excluded": [{"cell": name, "reason": reason} for name, reason in advice.excluded],
    }  # fmt: skip
    made: dict[str, Any] = plain_json(found)
    return made


def answer_json(words: Said) -> dict[str, Any]:
    """One answer, the same for every command.

    Returns:
        "take" is the variant to take, null unless `kind` is "sparse" or "dense"; "winner",
        "best_sparse", "unsure" and "deployable" are names of older versions.
    """
    answer, question = words.answer, words.answer.question
    sparse = next(
        (o for o in answer.standings if not o.candidate.is_dense and o.accuracy == "shown"), None
    )
    production = words.production
    unsure = answer.first("not shown", faster=answer.kind != "not shown")
    return {
        "kind": answer.kind,
        "question": words.title,
        "answer": plain(words.headline),
        "remarks": [plain(remark) for remark in words.remarks],
        "run": question.runs[0],
        "runs": list(question.runs),
        "workload": question.workload,
        "tasks": list(question.tasks),
        "task": question.tasks[0] if len(question.tasks) == 1 else None,
        "batch_size": question.batch_size,
        "dense_partner": question.baseline,
        "take": _candidate(answer, answer.take),
        "winner": _candidate(answer, answer.take),
        "best_dense": _candidate(answer, answer.best_dense),
        "best_fp32_dense": _candidate(answer, answer.fp32),
        "over_best_fp32_dense": _over_fp32(answer),
        "best_sparse": _stood(answer, sparse),
        "runner_up": _candidate(answer, answer.runner_up),
        "tied": [one.name for one, word in answer.peers if word == "tied"],
        "inconclusive": [one.name for one, word in answer.peers if word == "inconclusive"],
        "unsure": _stood(answer, unsure),
        "outside": _stood(answer, answer.first("ruled out")),
        "deployable": production and _candidate(production, production.take),
        "open": [{"variant": o.candidate.name, "within": o.within, "chance": o.chance}
                 for o in answer.open],
        "to_show": [{"what": n.what, "now": n.now, "about": n.about} for n in answer.needs],
        "confidence": _confidence(answer),
        "loses_too_much": [
            _stood(answer, one) for one in answer.standings if one.accuracy == "ruled out"
        ],
        "too_slow": [_candidate(answer, one) for one in answer.too_slow],
        "licence_forbids": [
            {"variant": one.name, "licence": one.facts.licence} for one in answer.unlicensed
        ],
    }  # fmt: skip


def _advised(one: Advised, words: Said) -> dict[str, Any]:
    return {
        **answer_json(words),
        "unmeasured": None,
        "measure": None,
        "changes": [_flip(flip) for flip in one.flips],
        "same_answer_at_batch_sizes": list(one.same_batches),
        "retraining": [_retraining(weighed) for weighed in one.retraining],
    }


def _confidence(answer: Answer) -> dict[str, float | None] | None:
    """Probabilities: the taken one is within the limit, and faster than the runner-up."""
    taken = answer.standing(answer.take)
    if taken is None:
        return None
    lead = None if answer.lead is None else answer.lead.faster
    return {"within": taken.within, "beats_runner_up": lead}


def _stood(answer: Answer, found: Standing | None) -> dict[str, Any] | None:
    return None if found is None else _candidate(answer, found.candidate)


def _candidate(answer: Answer, one: Candidate | None) -> dict[str, Any] | None:
    if one is None:
        return None
    record, worst = one.record, one.worst
    change = worst.evidence.change
    ends = change.interval()
    facts: dict[str, Any] = {
        "name": one.name,
        "backbone": record.backbone.name,
        "engine": record.engine.name,
        "device": record.engine.device,
        "precision": record.engine.precision,
        "threads": record.engine.threads,
        "batch_size": record.engine.batch_size,
        "record": record.id,
        "records": {task: cell.record.id for task, cell in one.cells.items()},
        "run": one.run,
        "seconds_per_picture": one.seconds(),
        "accuracy_change_points": {"mean": change.mid, "ci95": ends and list(ends)},
        "worst_task": worst.record.task.name,
        "loss_points": -change.mid,
        "loss_ci95": ends and [-ends[1], -ends[0]],
        "engine_licence": one.facts.licence,
        "engine_support": one.facts.support,
        "production": one.facts.production,
        "weights_licence": record.backbone.licence,
        "resources": resources_json(record),
        "latency": latency_json(record),
    }
    if record.workload == INFERENCE:
        facts["call_seconds"] = one.whole_seconds()
        facts["call_seconds_p95"] = one.call_seconds(CALLS_WITHIN)
    else:
        facts["seconds"] = one.whole_seconds()
    return facts | _standing(answer, answer.standing(one))


def _standing(answer: Answer, found: Standing | None) -> dict[str, Any]:
    """Against the best dense one, which itself is 1; nothing of what does not fit."""
    if found is None or answer.hurdle is None:
        return {}
    claim = found.claim
    ratio = Estimate(1.0, (1.0, 1.0), 0) if claim is None else claim.ratio
    ends = ratio.ci95 and list(ratio.ci95)
    facts = {"median": ratio.median, "ci95": ends}
    return {
        "within": found.within,
        "accuracy": found.accuracy,
        "speedup_best_dense": facts | {"blocks": ratio.blocks},
        "verdict_best_dense": claim and claim.verdict,
        "p_holm_best_dense": claim and claim.p,
        "over_best_dense": {"dense": answer.hurdle.name, "ratio": ratio.median, "ci95": ends},
    }


def _over_fp32(answer: Answer) -> dict[str, Any] | None:
    """What is taken, or the likeliest, against the best dense one in fp32."""
    if answer.over_fp32 is None or answer.fp32 is None:
        return None
    one, ratio = answer.over_fp32
    ends = ratio.ci95 and list(ratio.ci95)
    return {"variant": one.name, "dense": answer.fp32.name, "ratio": ratio.median, "ci95": ends}


def _flip(flip: Flip) -> dict[str, Any]:
    take = flip.answer.take
    return {
        "what": flip.what, "when": flip.when, "value": flip.value, "kind": flip.answer.kind,
        "take": None if take is None else take.name,
    }  # fmt: skip


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
        "kind": found.answer.kind,
        "take": one(found.answer.take),
        "runner_up": one(found.answer.runner_up),
        "confidence": _confidence(found.answer),
        "changes_at_period_seconds": found.overtaken,
        "training_longer_than_the_period": [x.name for x in found.never],
    }
