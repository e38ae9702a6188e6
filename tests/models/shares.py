"""Sparsity layer by layer."""

from __future__ import annotations

from sparsebench.models.masks import Mask, sparsity


def by_layer(mask: Mask) -> dict[str, float]:
    """Share of pruned weights (0..1) in each tensor."""
    return {name: sparsity({name: kept}) for name, kept in mask.items()}
