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
    scores = []
    for name, weight in weights.items():
        score = weight.detach().abs().flatten()
        if within:
            score = score.masked_fill(~within[name].flatten(), -1.0)
        scores.append(score)
    ranked = torch.cat(scores)
    kept = round((1.0 - sparsity) * ranked.numel())
    flat = torch.zeros(ranked.numel(), dtype=torch.bool, device=ranked.device)
    flat[torch.topk(ranked, kept, sorted=False).indices] = True
    flat &= ranked >= 0
    parts = torch.split(flat, [w.numel() for w in weights.values()])
    return {n: p.view_as(w).clone() for (n, w), p in zip(weights.items(), parts, strict=True)}
