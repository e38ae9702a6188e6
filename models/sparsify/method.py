"""What a method of sparsification is to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.models.masks import apply_mask
from sparsebench.models.sparsify.schedule import one_cycle


@dataclass(frozen=True)
class Recipe:
    """Settings of the optimizer, stochastic gradient descent with momentum.

    One optimizer serves all methods, so that they are compared with each other; it is no paper's.
    Nesterov's momentum, weight decay 5e-4 and peak rates of 0.1 to 0.2 suit short trainings of
    small networks. For ImageNet the authors take: WoodFisher and its GMP rate 0.005, weight decay
    1e-4, the rate times 0.6 in steps; M-FAC rate 0.005, and a tenth of it before each pruning;
    AC/DC rate 0.256, cosine, 3.05e-5; RigL 1e-4, rate in steps. ``--learning-rate`` or a plan's
    ``[recipe]`` sets others.

    Attributes:
        learning_rate: the peak of the schedule.
        momentum: of the gradient.
        nesterov: momentum looks ahead.
        weight_decay: of every parameter.
        batch_size: images a step.
        min_area: smallest share of an image that the random crop keeps.
        sides: pairs (share of the training, side in pixels): from that share on images
            are trained at that side, which is cheaper early on; empty for the full size.
            The last one should be the size that the network is evaluated at.
    """

    learning_rate: float = 0.2
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    batch_size: int = 128
    min_area: float = 0.35
    sides: tuple[tuple[float, int], ...] = ()

    def side(self, progress: float, size: int) -> int:
        """Side of the training images at a share of the training, in pixels."""
        return next((s for share, s in reversed(self.sides) if progress >= share), size)


@dataclass
class Run:
    """What a method sees of the training that it takes part in.

    Attributes:
        module: the network that is trained.
        weights: name -> weight of each prunable layer, the parameters themselves.
        optimizer: its state may be changed by the method.
        total_steps: of the whole training.
        steps_per_epoch: batches an epoch.
        batches: fresh augmented training batches (images float32 ``[B, 3, S, S]``,
            labels int64 ``[B]``) for statistics; they do not disturb the order of training.
        seed: of the training, for whatever a method draws at random.
        bf16: whether forward and backward passes run in bf16.
    """

    module: nn.Module
    weights: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    total_steps: int
    steps_per_epoch: int
    batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]
    seed: int = 0
    bf16: bool = False

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the network as it is, a scalar with its graph."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.module(images)
        return functional.cross_entropy(logits.float(), labels)


class Method:
    """Dense training, and the base of every method: override the hooks that it needs.

    The loop calls, for each step: :meth:`before_step`, forward and backward passes,
    :meth:`after_backward`, the optimizer, :meth:`after_step`; and once :meth:`prepare`, in a
    resumed training too, :meth:`on_start` before the first step and :meth:`on_end` after the
    last. What a method keeps between steps goes through :meth:`state_dict`, because a
    training may be killed and resumed anywhere: after any :meth:`after_step`.

    Args:
        sparsity: share of all prunable weights that is zero in the end, 0 to 1.
    """

    name: ClassVar[str] = "dense"
    family: ClassVar[str] = "dense"
    source: ClassVar[str] = "ordinary training, no weight removed"
    needs_start: ClassVar[bool] = False
    # A training that misses its sparsity by more has failed: too few steps for the schedule.
    tolerance: ClassVar[float] = 0.01
    sparseml_note: ClassVar[str] = "SparseML 1.8 has no modifier for this."
    # Whether it prunes in blocks of input channels (models/blocks.py), where told to.
    has_blocks: ClassVar[bool] = False
    # Whether it prunes in a fixed pattern (models/patterns.py), where told to.
    has_patterns: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = Recipe()

    def __init__(self, sparsity: float = 0.0) -> None:
        self.sparsity = sparsity
        self.block = 1  # input channels that are kept or removed together
        self.pattern = ""  # of its zeros: "2:4"
        self.masks: dict[str, Tensor] = {}

    def learning_rate(self, progress: float) -> float:
        """Factor of the recipe's learning rate at a share of the training (0 to 1)."""
        return one_cycle(progress)

    def prepare(self, run: Run) -> None:
        """Before anything is loaded: add to the optimizer what else is to be trained."""

    def on_start(self, run: Run) -> None:
        """Before the first step of a training that is not resumed."""

    def before_step(self, run: Run, step: int) -> None:
        """Before the forward pass of a step, counted from 0 over the whole training."""

    def after_backward(self, run: Run, step: int) -> bool:
        """Gradients are there; return False to skip the optimizer in this step."""
        return True

    def after_step(self, run: Run, step: int) -> None:
        """After the optimizer: removed weights stay zero."""
        self.apply(run)

    def on_end(self, run: Run) -> None:
        """After the last step: leave in the module what shall be written."""

    def sparseml(self, epochs: int) -> str | None:
        """The SparseML 1.8 recipe (YAML) that does exactly this in ``epochs``, if one does."""
        return None

    def facts(self) -> dict[str, str]:
        """What a reader of the finished file should know of how it came about."""
        return {}

    def apply(self, run: Run) -> None:
        """Set the weights outside the mask to zero."""
        apply_mask(run.module, self.masks)

    def current_sparsity(self, run: Run) -> float:
        """Share of all prunable weights that the mask removes now."""
        total = sum(w.numel() for w in run.weights.values())
        kept = sum(int(m.count_nonzero()) for m in self.masks.values())
        masked = sum(m.numel() for m in self.masks.values())
        return (masked - kept) / total if total else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which :meth:`load_state_dict` goes on."""
        return {"masks": self.masks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self.masks = dict(state["masks"])
