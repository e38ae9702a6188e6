"""Heads on cached features of a backbone: trained for several seeds at once, and evaluated."""

from __future__ import annotations

from sparsebench.bench.heads.evaluate import Evaluation, evaluate
from sparsebench.bench.heads.fit import fit_heads
from sparsebench.bench.heads.lbfgs import train_lbfgs
from sparsebench.bench.heads.linear import LinearHeads
from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.bench.heads.sgd import train_sgd

__all__ = [
    "Evaluation",
    "LinearHeads",
    "LinearRecipe",
    "evaluate",
    "fit_heads",
    "train_lbfgs",
    "train_sgd",
]
