"""Linear heads on cached features: trained for several seeds at once, and evaluated."""

from __future__ import annotations

from bench.heads.evaluate import Evaluation, evaluate
from bench.heads.fit import fit_heads
from bench.heads.lbfgs import train_lbfgs
from bench.heads.linear import LinearHeads
from bench.heads.recipe import LinearRecipe
from bench.heads.sgd import train_sgd

__all__ = [
    "Evaluation",
    "LinearHeads",
    "LinearRecipe",
    "evaluate",
    "fit_heads",
    "train_lbfgs",
    "train_sgd",
]
