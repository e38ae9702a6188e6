"""The deployer's answer: which variant to take, how sure that is, what would change it.

Everything here is a pure function over records, trials and limits. Nothing is extrapolated:
what was not measured is named, with the command that measures it.
"""

from bench.advice.advise import Advice, Question, advise
from bench.advice.candidates import Candidate, candidates
from bench.advice.choice import Choice, Confidence, Limits, choose
from bench.advice.engines import EngineFacts, engine_facts
from bench.advice.retraining import Retraining

__all__ = [
    "Advice",
    "Candidate",
    "Choice",
    "Confidence",
    "EngineFacts",
    "Limits",
    "Question",
    "Retraining",
    "advise",
    "candidates",
    "choose",
    "engine_facts",
]
