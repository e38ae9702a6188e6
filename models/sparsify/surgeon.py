"""Optimal brain surgeon: remove what costs least, and make up for it in what stays.

Hassibi & Stork 1992, as Singh & Alistarh 2020 (WoodFisher, equations 4 and 5) apply it to many
weights at once: removing weight q costs ``w_q^2 / (2 [F^-1]_qq)``, and the best answer of
the others to it is ``-w_q / [F^-1]_qq`` times column q of ``F^-1``; the answers to all removed
weights are added up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from sparsebench.models.sparsify.magnitude import global_masks


class Inverse(Protocol):
    """What is known of the inverse of the curvature, over all weights in a row."""

    def diagonal(self) -> Tensor:
        """``[d]``."""

    def times(self, vector: Tensor) -> Tensor:
        """``[d]`` to ``[d]``."""


@torch.no_grad()
def remove_cheapest(
    weights: Mapping[str, nn.Parameter],
    masks: Mapping[str, Tensor],
    inverse: Inverse,
    sparsity: float,
) -> dict[str, Tensor]:
    """Remove the cheapest weights of all layers ranked together and update the others.

    Args:
        weights: changed in place; removed ones become zero.
        masks: of the weights that are still there; empty for all.
        inverse: of the curvature, in the order of ``weights``.
        sparsity: share of all weights that shall be removed afterwards.

    Returns:
        The new masks.
    """
    diagonal = inverse.diagonal()
    flat = torch.cat([w.detach().flatten() for w in weights.values()]).to(diagonal.dtype)
    # Rounding may leave a diagonal that must be positive slightly below zero.
    diagonal = diagonal.clamp(min=float(diagonal.max()) * 1e-6)
    sizes = [w.numel() for w in weights.values()]

    def split(values: Tensor) -> dict[str, Tensor]:
        parts = torch.split(values, sizes)
        return {n: p.view_as(w) for (n, w), p in zip(weights.items(), parts, strict=True)}

    result = global_masks(split(flat.square() / (2 * diagonal)), sparsity, masks)
    kept = torch.cat([m.flatten() for m in result.values()])
    before = torch.cat([m.flatten() for m in masks.values()]) if masks else torch.ones_like(kept)
    removed = before & ~kept
    answer = inverse.times(torch.where(removed, -flat / diagonal, 0.0))
    for name, part in split((flat + answer).masked_fill(~kept, 0.0)).items():
        weights[name].copy_(part)
    return result
