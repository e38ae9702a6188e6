"""Top-KAST: always sparse, forwards with the largest weights, backwards with a few more.

Jayakumar, Pascanu, Rae, Osindero & Elsen 2020, "Top-KAST: Top-K Always Sparse Training",
arXiv:2106.03517, section 2. The dense weights live on beside the training. In each layer the
network computes with the set A of the largest, the requested share; the optimizer moves the
larger set B of the next largest too, so that a weight can grow into A; all others stay as
they are. Weight decay is the paper's exploration regularizer: by 1 on A, by one over the
forward density on B without A, by nothing elsewhere. A and B are chosen again every 100 steps
(more often in a short training), which the paper found as good as every step.

B has twice the density of A (the paper's pair of 90 and 80 %). All layers are equally sparse but
the first convolution (and depthwise ones), which stay dense as in RigL's uniform setting.

Departs from the paper: momentum of weights that leave B is forgotten, so that they stand still.

SparseML 1.8's ``TopKASTPruningModifier`` has the same sets and, with ``global_sparsity: False``,
the same layers; its decay is taken off the weights directly, past the momentum, and momentum
goes on moving weights that have left B.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsebench.models.distributions import spared_layers, uniform
from sparsebench.models.sparsify.method import Method, Run

MOST_STEPS_BETWEEN = 100
CHOICES = 100  # in a short training
BACKWARD_DENSITY = 2.0  # times the forward density


class TopKast(Method):
    """Compute with the largest weights, train a few more, leave the rest."""

    name = "topkast"
    family = "regularization"
    source = "Jayakumar et al. 2020, arXiv:2106.03517"
    sparseml_note = "SparseML 1.8's TopKASTPruningModifier decays past the momentum."

    def __init__(self, sparsity: float = 0.0) -> None:
        super().__init__(sparsity)
        self.backward_masks: dict[str, Tensor] = {}
        self._whole: dict[str, Tensor] = {}
        self._decay = 0.0

    def prepare(self, run: Run) -> None:
        """Take the prunable weights out of the optimizer's own weight decay."""
        group = run.optimizer.param_groups[0]
        self._decay = group["weight_decay"]
        own = {id(w) for w in run.weights.values()}
        group["params"] = [p for p in group["params"] if id(p) not in own]
        settings = {k: v for k, v in group.items() if k != "params"}
        run.optimizer.add_param_group(
            {**settings, "params": list(run.weights.values()), "weight_decay": 0.0}
        )

    def before_step(self, run: Run, step: int) -> None:
        """Choose A and B where it is time; let the network compute with A."""
        if step % max(1, min(MOST_STEPS_BETWEEN, run.total_steps // CHOICES)) == 0:
            self._choose(run)
        with torch.no_grad():
            for name, weight in run.weights.items():
                self._whole[name] = weight.detach().clone()
                weight.masked_fill_(~self.masks[name], 0.0)

    @torch.no_grad()
    def after_backward(self, run: Run, step: int) -> bool:
        """Put the dense weights back; gradient and regularizer on B alone."""
        for name, weight in run.weights.items():
            weight.copy_(self._whole.pop(name))
            assert weight.grad is not None
            forward, backward = self.masks[name], self.backward_masks[name]
            density = float(forward.count_nonzero()) / forward.numel()
            pull = torch.where(forward, 1.0, 1.0 / max(density, 1.0 / forward.numel()))
            weight.grad.add_(self._decay * pull * weight).masked_fill_(~backward, 0.0)
        return True

    def after_step(self, run: Run, step: int) -> None:
        """The weights outside A live on."""

    def on_end(self, run: Run) -> None:
        """What is written is A."""
        self.apply(run)

    def state_dict(self) -> dict[str, Any]:
        """Both sets."""
        return {**super().state_dict(), "backward_masks": self.backward_masks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.backward_masks = dict(state["backward_masks"])

    @torch.no_grad()
    def _choose(self, run: Run) -> None:
        shapes = {n: tuple(w.shape) for n, w in run.weights.items()}
        budget = uniform(shapes, self.sparsity, spared_layers(shapes, self.sparsity))
        for name, weight in run.weights.items():
            count = min(weight.numel(), round(BACKWARD_DENSITY * budget[name]))
            order = torch.topk(weight.abs().flatten(), count).indices
            for masks, kept in ((self.masks, budget[name]), (self.backward_masks, count)):
                mask = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
                mask[order[:kept]] = True
                masks[name] = mask.view_as(weight)
            buffer = run.optimizer.state.get(weight, {}).get("momentum_buffer")
            if buffer is not None:
                buffer.masked_fill_(~self.backward_masks[name], 0.0)
