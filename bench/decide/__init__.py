"""Which variant should I take? One rule, whose answers every surface renders.

The tables' closing lines, the report, `sparsebench advise` and their JSON all say what
:class:`Study` answers; :mod:`sparsebench.bench.decide.rule` states the rule. Everything here is a
pure function of records, trials and limits. Nothing is extrapolated: what was not measured is
named, with the command that measures it.
"""

from sparsebench.bench.decide.advice import Advice, Request, advise
from sparsebench.bench.decide.answers import Answer, Limits, Question
from sparsebench.bench.decide.candidates import Candidate, RunData
from sparsebench.bench.decide.licences import EngineFacts, engine_facts
from sparsebench.bench.decide.retraining import Retraining
from sparsebench.bench.decide.study import Study

__all__ = [
    "Advice",
    "Answer",
    "Candidate",
    "EngineFacts",
    "Limits",
    "Question",
    "Request",
    "Retraining",
    "RunData",
    "Study",
    "advise",
    "engine_facts",
]
