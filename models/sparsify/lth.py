"""LTH-T, lottery tickets for transfer: the pre-trained weights times a mask.

Chen et al. 2021, "The Lottery Tickets Hypothesis for Supervised and Self-supervised
Pre-training in Computer Vision Models", arXiv:2012.06908: iterative magnitude pruning with
rewinding to the pre-trained weights. In each round a fifth of the remaining weights of
all convolutions but the first, ranked together, is removed; the rest is put back to the
pre-trained values, optimizer included, and trained until the next round. The first
round prunes the pre-trained weights themselves. What is written is the ticket: the pre-trained
weights, batch norm included, times the last mask, not trained any further. Its accuracy
upstream is therefore poor; it is meant to be fine-tuned as a whole.

As published: the first convolution and the classifier stay dense, a fifth a round (89.3 % after
ten), a small constant learning rate. Here the other layers are as much sparser as makes
the whole network as sparse as requested, and the last round removes less than a fifth.

Departs from the paper: the learning rate is 1e-3 instead of 1e-4, because a round is an
epoch or so instead of ten.

SparseML 1.8 has no modifier for it: its lottery-ticket tutorial rewinds by hand between runs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sparsify.magnitude import global_magnitude_masks
from sparsebench.models.sparsify.method import Method, Recipe, Run

A_ROUND = 0.2  # share of the remaining weights that a round removes


class LotteryTicket(Method):
    """Prune, rewind to the pre-trained weights, train, and again; keep only the mask."""

    name = "lth"
    family = "lottery ticket"
    source = "Chen et al. 2021, arXiv:2012.06908"
    needs_start = True
    recipe = Recipe(learning_rate=1e-3, nesterov=False, weight_decay=1e-4)

    def __init__(self, sparsity: float = 0.0) -> None:
        super().__init__(sparsity)
        self._start: dict[str, Tensor] = {}

    def learning_rate(self, progress: float) -> float:
        """Constant."""
        return 1.0

    def on_start(self, run: Run) -> None:
        """Remember the pre-trained network."""
        self._start = {n: t.detach().clone() for n, t in run.module.state_dict().items()}
        self._levels(run)  # a sparsity that cannot be reached is refused at once

    def before_step(self, run: Run, step: int) -> None:
        """Begin a round where it is time."""
        level = rounds(run.total_steps, self._levels(run)).get(step)
        if level is not None:
            self._prune_and_rewind(run, level)

    def on_end(self, run: Run) -> None:
        """The last round ends with its rewinding."""
        self._prune_and_rewind(run, self._levels(run)[-1])

    def facts(self) -> dict[str, str]:
        """What a reader must know before judging the accuracy."""
        return {"ticket": "the start's weights times the mask, not trained since; fine-tune it"}

    def state_dict(self) -> dict[str, Any]:
        """The pre-trained network beside the masks."""
        return {**super().state_dict(), "start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self._start = dict(state["start"])

    def _pruned_names(self, run: Run) -> list[str]:
        return list(run.weights)[1:-1]

    def _levels(self, run: Run) -> list[float]:
        """Sparsity of the pruned layers in each round."""
        total = sum(w.numel() for w in run.weights.values())
        pruned = sum(run.weights[n].numel() for n in self._pruned_names(run))
        final = self.sparsity * total / pruned if pruned else 1.0
        if final >= 1.0:
            raise SparsebenchError(
                f"lth leaves the first convolution and the classifier dense, and they are more "
                f"than {1 - self.sparsity:.1%} of this network's weights.",
                "Ask for less sparsity, or take another method.",
            )
        return levels(final)

    @torch.no_grad()
    def _prune_and_rewind(self, run: Run, level: float) -> None:
        chosen = {n: run.weights[n] for n in self._pruned_names(run)}
        self.masks = global_magnitude_masks(chosen, level, within=self.masks)
        run.module.load_state_dict(self._start)
        for state in run.optimizer.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].zero_()
        self.apply(run)


def levels(final: float) -> list[float]:
    """Sparsity after each round: ``1 - 0.8^r``, and ``final`` in the end."""
    count = max(1, math.ceil(math.log(1 - final) / math.log(1 - A_ROUND) - 1e-9))
    return [1 - (1 - A_ROUND) ** r for r in range(1, count)] + [final]


def rounds(total_steps: int, sparsities: list[float]) -> dict[int, float]:
    """Step at which each round begins -> its sparsity; the last one is at the very end."""
    gaps = max(1, len(sparsities) - 1)
    every = {round(k * total_steps / gaps): s for k, s in enumerate(sparsities)}
    return {t: s for t, s in every.items() if t < total_steps}
