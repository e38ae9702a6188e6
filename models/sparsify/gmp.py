"""Gradual magnitude pruning.

Zhu & Gupta 2017, "To prune, or not to prune: exploring the efficacy of pruning for
model compression", with the pruning of Singh & Alistarh 2020 (WoodFisher) for ImageNet:
from a dense network, all convolutions and the classifier ranked together, first 5 %
removed, then along the cubic schedule over the first 40 % of the training; the learning
rate is held until the final sparsity is reached and falls after that.

Differs from theirs: more and smaller steps of pruning (they prune 8 times), the final sparsity
is set exactly at the end of the schedule (theirs ends 0.1 point below), the rate rises over the
first steps and then falls in a line, and the optimizer's settings are the suite's
(:class:`sparsebench.models.sparsify.method.Recipe` says which).

SparseML 1.8's ``GlobalMagnitudePruningModifier`` does the same: its cubic interpolation, ranking
of all layers together and masks that never grow were read and agree
(:meth:`GradualMagnitude.sparseml` is its recipe). Ours is the default because SparseML ended
in 2025 and does not install beside current packages.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sparsebench.models.patterns import two_of_four_masks
from sparsebench.models.sparsify.magnitude import global_magnitude_masks, uniform_magnitude_masks
from sparsebench.models.sparsify.method import Method, Recipe, Run
from sparsebench.models.sparsify.schedule import cubic_sparsity, hold_then_decay

INITIAL_SPARSITY = 0.05
FIRST_PRUNING = 0.01  # share of the training; epoch 1 of 100
LAST_PRUNING = 0.4  # epoch 40 of 100
INTERVALS = 20


class GradualMagnitude(Method):
    """Remove the smallest weights step by step; what is removed never returns."""

    name = "gmp"
    family = "progressive"
    source = "Zhu & Gupta 2017, arXiv:1710.01878"
    needs_start = True
    has_blocks = True
    has_patterns = True
    recipe = Recipe(learning_rate=0.1)
    sparseml_note = "SparseML 1.8 does the same with this recipe."

    def learning_rate(self, progress: float) -> float:
        """Constant while weights are removed, then a linear fall to 0."""
        return hold_then_decay(progress, hold=LAST_PRUNING, warmup=FIRST_PRUNING)

    def sparseml(self, epochs: int) -> str | None:
        """The equivalent recipe of SparseML 1.8, without its optimizer; none in blocks or 2:4."""
        if self.block > 1 or self.pattern:
            return None
        return gradual_recipe("GlobalMagnitudePruningModifier", self.sparsity, epochs, INTERVALS)

    def before_step(self, run: Run, step: int) -> None:
        """Prune where the schedule says so."""
        target = prunings(run.total_steps, self.sparsity).get(step)
        if target is not None:
            self.masks = self.largest(run.weights, target)
            self.apply(run)

    def largest(self, weights: Mapping[str, Tensor], target: float) -> dict[str, Tensor]:
        """Masks of the largest weights among those that are left."""
        if self.pattern:
            return two_of_four_masks(weights, target / self.sparsity, self.masks)
        return global_magnitude_masks(weights, target, within=self.masks, block=self.block)


class UniformGradualMagnitude(GradualMagnitude):
    """The same, layer by layer: every layer but the first reaches the same sparsity.

    As in the code of STR (Kusupati et al. 2020) and most published recipes of GMP. At equal
    sparsity it has fewer FLOPs left than a global ranking, which prunes late layers most.
    """

    name = "gmp_uniform"
    has_patterns = False  # a pattern is uniform by itself
    sparseml_note = "SparseML 1.8's MagnitudePruningModifier does the same, layer by layer."

    def sparseml(self, epochs: int) -> str | None:
        """The equivalent recipe of SparseML 1.8, but for the first layer, left whole here."""
        if self.block > 1:
            return None
        return gradual_recipe("MagnitudePruningModifier", self.sparsity, epochs, INTERVALS)

    def largest(self, weights: Mapping[str, Tensor], target: float) -> dict[str, Tensor]:
        """Masks of the largest weights of each layer among those that are left."""
        return uniform_magnitude_masks(
            weights, target, self.masks or None, final=self.sparsity, block=self.block
        )


def gradual_recipe(
    modifier: str, sparsity: float, epochs: int, intervals: int, **more: object
) -> str:
    """A SparseML recipe of one modifier along the cubic schedule.

    Args:
        modifier: its class name.
        sparsity: final, 0 to 1.
        epochs: of the training.
        intervals: between two prunings, in the whole schedule.
        more: further settings of the modifier.
    """
    start, end = FIRST_PRUNING * epochs, LAST_PRUNING * epochs
    settings = {
        "init_sparsity": min(INITIAL_SPARSITY, sparsity),
        "final_sparsity": sparsity,
        "start_epoch": round(start, 6),
        "end_epoch": round(end, 6),
        "update_frequency": round((end - start) / intervals, 6),
        "params": "__ALL_PRUNABLE__",
        "inter_func": "cubic",
        "mask_type": "unstructured",
        "leave_enabled": True,
        **more,
    }
    head = (
        f"modifiers:\n  - !EpochRangeModifier\n      start_epoch: 0.0\n      end_epoch: {epochs}.0"
    )
    lines = [f"      {key}: {value}" for key, value in settings.items()]
    return "\n".join([head, f"  - !{modifier}", *lines, ""])


def prunings(total_steps: int, sparsity: float) -> dict[int, float]:
    """Step -> sparsity from that step on, for a whole training.

    Args:
        total_steps: of the training.
        sparsity: final sparsity, 0 to 1.

    Returns:
        At most ``INTERVALS + 1`` steps in rising order; the last one has the final sparsity.
    """
    start = round(FIRST_PRUNING * total_steps)
    end = max(start, min(round(LAST_PRUNING * total_steps), total_steps - 1))
    initial = min(INITIAL_SPARSITY, sparsity)
    steps = {start + round(k * (end - start) / INTERVALS) for k in range(INTERVALS + 1)}
    return {t: cubic_sparsity(t, start, end, initial, sparsity) for t in sorted(steps)}
