"""The deployer's answer: which variant to take, how sure that is, what would change it.

Everything here is a pure function over records, trials and limits. Nothing is extrapolated:
what was not measured is named, with the command that measures it.
"""

from sparsebench.bench.decide.advise import Advice, Question, advise
from sparsebench.bench.decide.candidates import Candidate, candidates
from sparsebench.bench.decide.choice import Choice, Confidence, Limits, choose
from sparsebench.bench.decide.engines import EngineFacts, engine_facts
from sparsebench.bench.decide.retraining import Retraining

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
