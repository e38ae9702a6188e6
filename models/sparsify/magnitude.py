"""Which weights are largest: the score that most methods share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def global_magnitude_masks(
    weights: Mapping[str, Tensor], sparsity: float, within: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Keep the largest absolute weights of all tensors ranked together.

    Exactly ``round((1 - sparsity) * N)`` of the N weights are kept, ties included, or all that
    ``within`` keeps where those are fewer.

    Args:
        weights: name -> weight, any shape.
        sparsity: share to remove, 0 to 1.
        within: masks whose removed weights never return.

    Returns:
        Name -> bool tensor of the weight's shape, True = kept.
    """
    return global_masks({n: w.detach().abs() for n, w in weights.items()}, sparsity, within)


@torch.no_grad()
def global_masks(
    scores: Mapping[str, Tensor], sparsity: float, within: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """As :func:`global_magnitude_masks`, by any score of 0 or more."""
    parts = []
    for name, tensor in scores.items():
        score = tensor.flatten()
        if within:
            score = score.masked_fill(~within[name].flatten(), -1.0)
        parts.append(score)
    ranked = torch.cat(parts)
    kept = round((1.0 - sparsity) * ranked.numel())
    flat = torch.zeros(ranked.numel(), dtype=torch.bool, device=ranked.device)
    flat[torch.topk(ranked, kept, sorted=False).indices] = True
    flat &= ranked >= 0
    split = torch.split(flat, [s.numel() for s in scores.values()])
    return {n: p.view_as(s).clone() for (n, s), p in zip(scores.items(), split, strict=True)}
