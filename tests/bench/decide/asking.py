"""Records whose right answer is known, and the questions put to the rule."""

from __future__ import annotations

import math

from sparsebench.bench.decide import Answer, Limits, Request, advise
from sparsebench.bench.decide.advice import Advice, Advised
from sparsebench.bench.records import Record
from tests.bench.decide.made import cell, run_of

POINTS = (90.0, 90.2, 90.4)
DENSE_NAME = "resnet18/dense on onnxruntime"
DENSE = cell("dense", "onnxruntime", (1e-3,) * 3, POINTS)
# 4 times as fast, loses 1 point: in every seed exactly
FAST = cell("acdc-90", "deepsparse", (0.25e-3,) * 3, (89.0, 89.2, 89.4))
# twice as fast, loses 0.2 points
MILD = cell("acdc-50", "onnxruntime", (0.5e-3,) * 3, (89.8, 90.0, 90.2))
# twice as fast; losses 0.1, 0.2, 0.3 points: mean 0.2, standard error 0.1 / sqrt 3
UNSURE = cell("acdc-90", "onnxruntime", (0.5e-3,) * 3, (89.9, 90.0, 90.1))


def asked(*records: Record, **limits: object) -> Advice:
    request = Request(limits=Limits(**limits), batch_size=64)  # type: ignore[arg-type]
    return advise([run_of(*records)], request)


def advised(advice: Advice) -> Advised:
    return next(one for one in advice.answers if one.answer.question.workload == "inference")


def inference(advice: Advice) -> Answer:
    return advised(advice).answer


def taken(advice: Advice) -> str | None:
    take = inference(advice).take
    return None if take is None else take.name


def of_two_degrees(t: float) -> float:
    """Student's t with 2 degrees of freedom below t, in closed form."""
    return 0.5 + t / (2 * math.sqrt(2 + t * t))
