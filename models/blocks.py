"""Pruning in blocks: weights that stand side by side live and die together.

A block holds ``block`` consecutive input channels of one output at one place of the kernel
(out, kh, kw): the four inputs that one 8-bit dot-product instruction reads, which is why
engines are faster with them. Where a layer's inputs are no multiple of the block, the last
block holds the rest (a first convolution of three channels: one block of three; a depthwise
one: blocks of one weight). Blocks are ranked by the root of the mean square of their weights,
which for full blocks is the order of their norms and is fair to shorter ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def block_scores(scores: Tensor, block: int) -> Tensor:
    """Root mean square of each block.

    Args:
        scores: float ``[out, in, ...]``, e.g. weights or their gradients.
        block: input channels a block.

    Returns:
        Float ``[out, ceil(in / block), ...]``.
    """
    sums = _block_sums(scores.square(), block)
    return (sums / block_sizes(scores, block)).sqrt()


def block_sizes(tensor: Tensor, block: int) -> Tensor:
    """How many weights each block holds: float ``[1, ceil(in / block), 1, ...]``."""
    row = torch.ones(1, tensor.shape[1], *[1] * (tensor.dim() - 2), device=tensor.device)
    return _block_sums(row, block)


def expand_blocks(kept: Tensor, like: Tensor, block: int) -> Tensor:
    """A flag for each weight from a flag for each block.

    Args:
        kept: bool ``[out, ceil(in / block), ...]``.
        like: tensor ``[out, in, ...]`` of the wanted shape.
        block: input channels a block.
    """
    return kept.repeat_interleave(block, dim=1)[:, : like.shape[1]].contiguous()


def keep_largest_blocks(
    scores: Mapping[str, Tensor],
    kept: int,
    block: int,
    within: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The blocks of the largest scores, all tensors ranked together.

    Of equal blocks the first stay. Fewer weights than ``kept`` stay by less than a block's
    size, or as many as ``within`` has where those are fewer.

    Args:
        scores: name -> score of 0 or more of each weight, ``[out, in, ...]``.
        kept: number of weights to keep.
        block: input channels a block.
        within: masks in the same blocks, whose removed weights never return.

    Returns:
        Name -> bool tensor of the scores' shape, True = kept.
    """
    ranks, sizes, shapes = [], [], []
    for name, score in scores.items():
        rank = block_scores(score, block)
        if within:
            rank = rank.masked_fill(_block_sums(within[name].float(), block) == 0, -1.0)
        ranks.append(rank.flatten())
        sizes.append(block_sizes(score, block).expand_as(rank).flatten())
        shapes.append(rank.shape)
    ranked = torch.cat(ranks)
    order = torch.argsort(ranked, descending=True, stable=True)
    inside = torch.cat(sizes)[order].to(torch.int64).cumsum(0) <= kept
    flat = torch.zeros_like(ranked, dtype=torch.bool)
    flat[order[inside]] = True
    flat &= ranked >= 0
    parts = torch.split(flat, [len(rank) for rank in ranks])
    return {
        name: expand_blocks(part.view(shape), score, block)
        for (name, score), part, shape in zip(scores.items(), parts, shapes, strict=True)
    }


def broken_blocks(mask: Mapping[str, Tensor], block: int) -> int:
    """Blocks that hold both kept and removed weights: 0 in a mask of whole blocks.

    Args:
        mask: name -> bool tensor ``[out, in, ...]``.
        block: input channels a block.
    """
    broken = 0
    for kept in mask.values():
        counts = _block_sums(kept.float(), block)
        broken += int(((counts > 0) & (counts < block_sizes(kept, block))).sum())
    return broken


def _block_sums(values: Tensor, block: int) -> Tensor:
    """Sums over blocks of dimension 1; the last block may hold fewer."""
    inputs = values.shape[1]
    blocks = -(-inputs // block)
    padded = values.new_zeros(values.shape[0], blocks * block, *values.shape[2:])
    padded[:, :inputs] = values
    return padded.reshape(values.shape[0], blocks, block, *values.shape[2:]).sum(2)
