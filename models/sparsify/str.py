"""STR, soft threshold reparameterization: each layer learns its own threshold.

Kusupati et al. 2020, "Soft Threshold Weight Reparameterization for Learnable Sparsity",
arXiv:2002.03231, section 3. A layer computes with ``sign(W) relu(|W| - sigmoid(s))``; its one
number s is trained by gradient descent like the weights. It starts far below zero, and weight
decay draws it, and with it the threshold, up. All convolutions and the classifier take
part; how the zeros are shared out among the layers is learned.

The paper reaches a sparsity by trial: a weight decay is chosen, a whole network trained, and
the sparsity it happens to have is reported. Here the decay of s is searched within the one
training instead: it is set again every few steps, such that the sparsity of the whole
network follows a given rise to the one requested. Only this common pull is steered; the
gradients decide which layers follow it more than others. For the sake of the search s has no
momentum (whose delay makes it swing), but a learning rate as much higher. In the last fifth
of the training the thresholds are shifted together, by what is missing to the exact number of
zeros, and folded into the weights, whose zeros then stay. Also differs: the authors start s at
-3200 or -12800, a threshold of zero, which a short training could not raise; their weights decay
as s does, here at the optimizer's fixed rate. The file says what the search had
reached before that (``str_reached``), and the mean decay that it used.

SparseML has no modifier for STR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.models.sparsify.method import Method, Run

FIRST_THRESHOLD = -10.0  # sigmoid(-10) = 4.5e-5; less would leave s no time to rise
RISE_ENDS = 0.6  # share of the training; then the sparsity is held by the search
SETTLES = 0.8  # share of the training
CONTROLS = 100  # changes of the decay in a training
FEWEST_STEPS = 5  # between two of them
FASTEST = 0.1  # what the decay may move s by in a step, at most; more in a short training
SAMPLE = 500_000  # weights that the search looks at


class SoftThreshold(Method):
    """Learn a threshold for each layer along with its weights."""

    name = "str"
    family = "regularization"
    source = "Kusupati et al. 2020, arXiv:2002.03231"

    def __init__(self, sparsity: float = 0.0) -> None:
        super().__init__(sparsity)
        self.thresholds: dict[str, nn.Parameter] = {}
        self._raw: dict[str, Tensor] = {}
        self._soft: dict[str, Tensor] = {}
        self._decays: list[list[float]] = []  # each with the learning rate that it had
        self._last: tuple[float, float] | None = None  # mean s and rate at the last control
        self._reached: float | None = None

    def prepare(self, run: Run) -> None:
        """One threshold a layer, trained by the same optimizer."""
        self.thresholds = {
            name: nn.Parameter(torch.full((), FIRST_THRESHOLD, device=w.device))
            for name, w in run.weights.items()
        }
        run.optimizer.add_param_group(
            {
                "params": list(self.thresholds.values()),
                "weight_decay": 0.0,
                "momentum": 0.0,
                "nesterov": False,
            }
        )

    def before_step(self, run: Run, step: int) -> None:
        """Steer the decay, then let the network compute with the thresholded weights."""
        if self._reached is not None:
            return
        if step >= min(math.ceil(SETTLES * run.total_steps), run.total_steps - 1):
            self._settle(run)
            return
        group = run.optimizer.param_groups[-1]
        group["lr"] /= 1 - run.optimizer.param_groups[0]["momentum"]
        interval = max(FEWEST_STEPS, run.total_steps // CONTROLS)
        if step % interval == 0:
            self._steer(run, step, interval)
        for name, weight in run.weights.items():
            self._raw[name] = weight.detach().clone().requires_grad_()
            self._soft[name] = soft_threshold(self._raw[name], self.thresholds[name])
            with torch.no_grad():
                weight.copy_(self._soft[name])

    def after_backward(self, run: Run, step: int) -> bool:
        """Carry the gradient of the thresholded weights on to the raw ones and thresholds."""
        for name, weight in run.weights.items():
            if name not in self._raw:
                continue
            raw, threshold = self._raw.pop(name), self.thresholds[name]
            weight.grad, threshold.grad = torch.autograd.grad(
                self._soft.pop(name), (raw, threshold), weight.grad
            )
            with torch.no_grad():
                weight.copy_(raw)
        return True

    def current_sparsity(self, run: Run) -> float:
        """Share of weights that their layer's threshold sets to zero."""
        if self._reached is not None:
            return super().current_sparsity(run)
        zeros = sum(int((m <= 0).count_nonzero()) for m in margins(run.weights, self.thresholds))
        return zeros / sum(w.numel() for w in run.weights.values())

    def facts(self) -> dict[str, str]:
        """The sparsity that learning alone had reached, and the decay that led there."""
        if self._reached is None:
            return {}
        rates = sum(rate for _, rate in self._decays)
        mean = sum(decay * rate for decay, rate in self._decays) / rates if rates else 0.0
        return {"str_reached": f"{self._reached:.4f}", "str_mean_decay": f"{mean:.3g}"}

    def state_dict(self) -> dict[str, Any]:
        """Thresholds and the state of the search beside the masks."""
        return {
            **super().state_dict(),
            "thresholds": {n: t.detach() for n, t in self.thresholds.items()},
            "decays": self._decays,
            "last": self._last,
            "reached": self._reached,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        with torch.no_grad():
            for name, value in state["thresholds"].items():
                self.thresholds[name].copy_(value)
        self._decays, self._last = list(state["decays"]), state["last"]
        self._reached = state["reached"]

    @torch.no_grad()
    def _steer(self, run: Run, step: int, interval: int) -> None:
        """Set the decay of the thresholds for the next steps."""
        group = run.optimizer.param_groups[-1]
        now = float(torch.stack([t.detach() for t in self.thresholds.values()]).mean())
        wanted = planned_sparsity((step + interval) / run.total_steps, self.sparsity)
        missing = common_shift(run.weights, self.thresholds, wanted)
        reach = group["lr"] * interval * abs(now)  # a decay d moves s by d times this
        # What the gradients did since the last control, they will do again.
        own = 0.0
        if self._last is not None:
            own = now - self._last[0] - self._last[1]
        longest = max(FASTEST, -2 * FIRST_THRESHOLD / run.total_steps) * interval
        move = max(-longest, min(longest, missing - own))
        decay = move / reach if reach > 0 else 0.0
        group["weight_decay"] = decay
        self._last = (now, move if reach > 0 else 0.0)
        self._decays.append([decay, group["lr"]])

    @torch.no_grad()
    def _settle(self, run: Run) -> None:
        """Fold the thresholds into the weights, at exactly the sparsity requested."""
        self._reached = self.current_sparsity(run)
        parts = list(margins(run.weights, self.thresholds))
        ranked = torch.cat([p.flatten() for p in parts])
        kept = round((1 - self.sparsity) * ranked.numel())
        flat = torch.zeros_like(ranked, dtype=torch.bool)
        best = torch.topk(ranked, kept)
        flat[best.indices] = True
        least = float(best.values[-1]) if kept else 0.0
        masks = torch.split(flat, [p.numel() for p in parts])
        for (name, weight), mask in zip(run.weights.items(), masks, strict=True):
            self.masks[name] = mask.view_as(weight).clone()
            # A threshold moved by just less than the smallest margin zeroes no kept weight.
            moved = torch.sigmoid(self.thresholds[name]) + least - abs(least) * 1e-3 - 1e-12
            weight.copy_(torch.sign(weight) * (weight.abs() - moved.clamp(min=0.0)).relu())
            state = run.optimizer.state.get(weight, {})
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].masked_fill_(~self.masks[name], 0.0)
        for threshold in self.thresholds.values():
            threshold.grad = None
        self.apply(run)


def soft_threshold(weight: Tensor, s: Tensor) -> Tensor:
    """``sign(W) relu(|W| - sigmoid(s))`` (equation 3 of the paper).

    Args:
        weight: of any shape.
        s: scalar.
    """
    return torch.sign(weight) * functional.relu(weight.abs() - torch.sigmoid(s))


def planned_sparsity(progress: float, final: float) -> float:
    """The rise that the search follows: as a cubic schedule, to ``final`` at its end."""
    from sparsebench.models.sparsify.schedule import cubic_sparsity

    return cubic_sparsity(progress, 0.0, RISE_ENDS, 0.0, final)


@torch.no_grad()
def margins(weights: Mapping[str, Tensor], thresholds: Mapping[str, Tensor]) -> list[Tensor]:
    """By how much each weight's size exceeds its layer's threshold, layer by layer."""
    return [w.detach().abs() - torch.sigmoid(thresholds[n]) for n, w in weights.items()]


@torch.no_grad()
def common_shift(
    weights: Mapping[str, Tensor], thresholds: Mapping[str, Tensor], sparsity: float
) -> float:
    """What must be added to every s for a share ``sparsity`` of all weights to be zero.

    Found on about ``SAMPLE`` of the weights; at most 20 up or down.
    """
    total = sum(w.numel() for w in weights.values())
    stride = max(1, total // SAMPLE)
    # The shift that zeroes a weight is logit(|w|) - s of its layer.
    needed = torch.cat(
        [
            torch.logit(w.detach().abs().flatten()[::stride].float().clamp(1e-12, 1 - 1e-6))
            - thresholds[n]
            for n, w in weights.items()
        ]
    )
    position = min(needed.numel(), max(1, round(sparsity * needed.numel())))
    return max(-20.0, min(20.0, float(torch.kthvalue(needed, position).values)))
