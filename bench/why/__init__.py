"""Why a sparse network is (not) faster on an engine: a minute of measuring, then the reasons.

What is measured is the network against a copy of itself whose zeros are filled
(`exporters.filled`), so that everything but the zeros is the same.
"""

from bench.why.findings import Finding, explain
from bench.why.layers import LayerPair, pair_layers
from bench.why.measure import Measured, measure
from bench.why.target import Target, open_target

__all__ = [
    "Finding",
    "LayerPair",
    "Measured",
    "Target",
    "explain",
    "measure",
    "open_target",
    "pair_layers",
]
