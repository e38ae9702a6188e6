"""Fixed patterns of zeros: 2:4, which GPUs since NVIDIA's Ampere multiply in half the time.

Of every four consecutive inputs of an output, at one place of the kernel (out, kh, kw), two are
kept (Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378). Layers
whose inputs are no multiple of four stay whole: a first convolution of three channels, depthwise
ones. The pattern fixes how many weights stay, so a sparsity need not be given: half of the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

TWO_OF_FOUR = "2:4"
PATTERNS = (TWO_OF_FOUR,)
_GROUP, _KEPT = 4, 2


def takes_pattern(weight: Tensor) -> bool:
    """Whether a weight ``[out, in, ...]`` can have the pattern."""
    return weight.dim() >= 2 and weight.shape[1] % _GROUP == 0


def groups_of(weight: Tensor) -> Tensor:
    """A weight ``[out, in, ...]`` as its groups of four inputs ``[groups, 4]``.

    The inputs of one output at one place of the kernel follow each other, as in the matrix
    ``[out, kh * kw * in]``.
    """
    return weight.movedim(1, -1).reshape(-1, _GROUP)


def from_groups(groups: Tensor, like: Tensor) -> Tensor:
    """Back from :func:`groups_of`, in the shape of `like`."""
    moved = like.movedim(1, -1).shape
    return groups.view(moved).movedim(-1, 1).contiguous()


@torch.no_grad()
def two_of_four_masks(
    weights: Mapping[str, Tensor],
    share: float = 1.0,
    within: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Keep the two largest of each group of four; or go there a part of the way.

    The two smallest of every group are those that may go; of these the smallest of all layers,
    ranked together, go first.

    Args:
        weights: name -> weight ``[out, in, ...]``; those that cannot have the pattern stay whole.
        share: of what may go, 0 to 1; with 1 every group keeps exactly two.
        within: masks made so before, whose removed weights never return.

    Returns:
        Name -> bool tensor of the weight's shape, True = kept.
    """
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
    chosen = {n: w for n, w in weights.items() if takes_pattern(w)}
    if not chosen:
        return masks
    scores, places = [], []
    for name, weight in chosen.items():
        score = weight.detach().abs()
        if within and name in within:
            score = score.masked_fill(~within[name], -1.0)
        grouped = groups_of(score)
        smallest = grouped.argsort(dim=1, stable=True)[:, : _GROUP - _KEPT]
        scores.append(grouped.gather(1, smallest).flatten())
        rows = torch.arange(len(grouped), device=grouped.device)[:, None] * _GROUP
        places.append((rows + smallest).flatten())
    ranked = torch.cat(scores)
    going = torch.zeros_like(ranked, dtype=torch.bool)
    removed = round(min(1.0, share) * len(ranked))
    going[torch.topk(ranked, removed, largest=False, sorted=False).indices] = True
    parts = torch.split(going, [len(score) for score in scores])
    for (name, weight), place, part in zip(chosen.items(), places, parts, strict=True):
        kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
        kept[place[part]] = False
        masks[name] = from_groups(kept, weight)
    return masks


def broken_groups(masks: Mapping[str, Tensor]) -> int:
    """Groups that do not keep exactly two of four, in layers that can have the pattern.

    Args:
        masks: name -> bool tensor ``[out, in, ...]``.
    """
    return sum(
        int((groups_of(kept).sum(1) != _KEPT).sum())
        for kept in masks.values()
        if takes_pattern(kept)
    )
