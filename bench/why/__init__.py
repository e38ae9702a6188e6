"""Why a sparse network is (not) faster on an engine: a minute of measuring, then the reasons.

What is measured is the network against a copy of itself whose zeros are filled
(`sparsebench.exporters.onnx.filled`), so that everything but the zeros is the same.
"""

from sparsebench.bench.why.findings import Finding, explain
from sparsebench.bench.why.layers import LayerPair, pair_layers
from sparsebench.bench.why.measure import Measured, measure
from sparsebench.bench.why.target import Target, open_target

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
