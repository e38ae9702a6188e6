"""Time and accuracy of sparse vision models, compared with their dense baselines.

    import sparsebench

    run = sparsebench.run("quick", out="my-first")
    print(run.to_frame()[["backbone", "engine", "speedup_best_dense", "accuracy_change_points"]])
    print(run.advise(max_accuracy_loss=0.5))

Names are imported when they are first used, so that ``import sparsebench`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsebench.api import Recommendation, Run, advise, load, run, sparsify
    from sparsebench.bench.plan.plan import Plan, load_plan
    from sparsebench.exporters.kernels.training.module import SparseModule, sparsify_module
    from sparsebench.models.errors import SparsebenchError

__version__ = "0.1.0"
__all__ = [
    "Plan",
    "Recommendation",
    "Run",
    "SparseModule",
    "SparsebenchError",
    "__version__",
    "advise",
    "load",
    "load_plan",
    "run",
    "sparsify",
    "sparsify_module",
]
_HOME = {
    "Plan": "sparsebench.bench.plan.plan",
    "load_plan": "sparsebench.bench.plan.plan",
    "Recommendation": "sparsebench.api",
    "Run": "sparsebench.api",
    "advise": "sparsebench.api",
    "load": "sparsebench.api",
    "run": "sparsebench.api",
    "sparsify": "sparsebench.api",
    "SparseModule": "sparsebench.exporters.kernels.training.module",
    "sparsify_module": "sparsebench.exporters.kernels.training.module",
    "SparsebenchError": "sparsebench.models.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sparsebench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
