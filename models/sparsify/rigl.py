"""RigL: sparse from the first step, connections dropped by size and grown by gradient.

Evci, Gale, Menick, Castro & Elsen 2020, "Rigging the Lottery: Making All Tickets Winners",
arXiv:1911.11134, section 3 and algorithm 1. A random mask is drawn in each layer. Every
now and then a share of each layer's connections, those of the smallest weights, is
dropped and as many are grown where the gradient of the dense network is largest; a grown
connection starts from zero. The number of connections of a layer never changes, and in a
step that changes the mask the weights are not updated.

``rigl`` shares the sparsity out by the Erdős-Rényi kernel rule, all layers taking part, the
first and the last included; ``rigl_uniform`` makes all layers but the first convolution (and
depthwise ones) equally sparse. As published, the share falls from 0.3 along half a cosine,
and the mask changes every 100 steps until 25,000 of 32,000 steps are done.

Departs from the paper: in a short training the mask changes more often, about 30 times in
all. The published results without label smoothing are what this training follows (it has
none); the learning rate is one-cycle instead of steps, and the optimizer's settings are the
suite's (:class:`sparsebench.models.sparsify.method.Recipe` says which).

In blocks (``--block``) what is drawn, dropped and grown is a block of weights, ranked by the
root mean square of its weights and of their gradients; a layer's number of blocks never changes.

SparseML 1.8 has a ``RigLPruningModifier``, which is not used: it starts from the largest
weights instead of a random mask, takes the gradient of extra batches in eval mode and then
updates the weights all the same, and gives what layers of density above 1 cannot hold to no
other layer, so that the network ends sparser than was asked for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsebench.models.blocks import block_scores, expand_blocks
from sparsebench.models.distributions import erk, spared_layers, uniform
from sparsebench.models.sparsify.method import Method, Run

DROP_SHARE = 0.3
MOST_STEPS_BETWEEN = 100
FEWEST_STEPS_BETWEEN = 4
CHANGES = 30  # in a short training
LAST_CHANGE = 25_000 / 32_000  # share of the training


class RigLKernel(Method):
    """Train sparse throughout, moving connections to where the gradient is large; ERK."""

    name = "rigl"
    family = "regularization"
    source = "Evci et al. 2020, arXiv:1911.11134"
    has_blocks = True
    sparseml_note = (
        "SparseML 1.8's RigLPruningModifier updates weights in steps that move the mask."
    )

    def on_start(self, run: Run) -> None:
        """Draw a random mask in each layer."""
        generator = torch.Generator().manual_seed(run.seed)
        shapes = {n: tuple(w.shape) for n, w in run.weights.items()}
        for name, kept in self.budget(shapes).items():
            weight = run.weights[name]
            blocks = block_scores(weight.detach(), self.block)
            count = round(kept * blocks.numel() / weight.numel())
            mask = torch.zeros(blocks.numel(), dtype=torch.bool)
            mask[torch.randperm(blocks.numel(), generator=generator)[:count]] = True
            mask = expand_blocks(mask.view(blocks.shape), weight, self.block)
            self.masks[name] = mask.to(weight.device)
        self.apply(run)

    def budget(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
        """Layer name -> number of connections it has throughout."""
        return erk(shapes, self.sparsity)

    def after_backward(self, run: Run, step: int) -> bool:
        """Change the mask where it is time, without an update; else hide dropped weights."""
        share = drop_share(step, run.total_steps)
        for name, weight in run.weights.items():
            assert weight.grad is not None
            if share is None:
                # In the authors' code too, momentum sees the gradient of kept weights only.
                weight.grad.masked_fill_(~self.masks[name], 0.0)
                continue
            before = self.masks[name]
            after = drop_and_grow(weight, weight.grad, before, share, self.block)
            self.masks[name] = after
            with torch.no_grad():
                weight.masked_fill_(~after | ~before, 0.0)  # the grown start from zero
                buffer = run.optimizer.state.get(weight, {}).get("momentum_buffer")
                if buffer is not None:
                    buffer.masked_fill_(~after | ~before, 0.0)
        return share is None


class RigLUniform(RigLKernel):
    """Train sparse throughout, moving connections to where the gradient is large; uniform."""

    name = "rigl_uniform"

    def budget(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
        """Layer name -> number of connections it has throughout."""
        return uniform(shapes, self.sparsity, spared_layers(shapes, self.sparsity))


def steps_between(total_steps: int) -> int:
    """Steps from one change of the mask to the next."""
    wanted = int(LAST_CHANGE * total_steps) // CHANGES
    return min(MOST_STEPS_BETWEEN, max(FEWEST_STEPS_BETWEEN, wanted))


def drop_share(step: int, total_steps: int) -> float | None:
    """Share of each layer's connections that this step drops and grows; None for none.

    ``0.3 / 2 (1 + cos(pi t / T))`` with T the end of the changes (equation 1 of the paper).

    Args:
        step: counted from 0.
        total_steps: of the training.
    """
    end = LAST_CHANGE * total_steps
    if step == 0 or step >= end or step % steps_between(total_steps):
        return None
    return DROP_SHARE / 2 * (1 + math.cos(math.pi * step / end))


@torch.no_grad()
def drop_and_grow(
    weight: Tensor, gradient: Tensor, mask: Tensor, share: float, block: int = 1
) -> Tensor:
    """The mask after one change.

    Args:
        weight: of any shape, with zeros outside the mask.
        gradient: of the loss by every weight, kept or not; the weight's shape.
        mask: bool, of the weight's shape.
        share: of the kept weights that is dropped.
        block: input channels that are dropped and grown together.

    Returns:
        A bool tensor with as many True as ``mask``. What was just dropped may be grown again,
        as in the authors' code.
    """
    if block > 1:
        scores = (block_scores(weight, block), block_scores(gradient, block))
        flags = block_scores(mask.float(), block) > 0
        return expand_blocks(drop_and_grow(*scores, flags, share), mask, block)
    kept = mask.flatten()
    count = int(kept.count_nonzero())
    moved = int(share * count)
    # A kept weight of exactly zero still ranks before every dropped one.
    size = weight.abs().flatten().masked_fill(~kept, -1.0)
    result = torch.zeros_like(kept)
    result[torch.topk(size, count - moved, sorted=False).indices] = True
    slope = gradient.abs().flatten().masked_fill(result, -1.0)
    result[torch.topk(slope, moved, sorted=False).indices] = True
    return result.view_as(mask)
