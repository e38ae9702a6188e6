"""WoodFisher: gradual pruning by the curvature of the loss, in blocks.

Singh & Alistarh 2020, "WoodFisher: Efficient Second-Order Approximation for Neural Network
Compression", arXiv:2004.14340. As gradual magnitude pruning, from a trained dense
network, but what is removed is what costs the loss least by the empirical Fisher
matrix (in blocks along its diagonal), and the other weights are updated to make up for it.
As published for ImageNet: all convolutions and the classifier ranked together, eight
prunings along the cubic schedule from 5 % on over the first 40 % of the training, blocks of
2,000 weights, dampening 1e-5, gradients taken in eval mode.

Departs from the paper: 64 gradients over 64 images each instead of 400 over 400, so that a
pruning costs seconds and not hours on a CPU; the last pruning is at exactly
the final sparsity (theirs ends 0.1 point below); learning rate and optimizer as in
:mod:`sparsebench.models.sparsify.gmp`.

SparseML 1.8's ``OBSPruningModifier`` is the same algorithm, one gradient after the other:
masked gradients in eval mode, blocks within a tensor, global ranking by the same score, the
same sum of updates. What differs are its defaults (1,024 gradients, dampening 1e-7, blocks of
1). It is not used because it forms each block's matrix: 90 GB for ResNet-18 in blocks of 2,000.
"""

from __future__ import annotations

from sparsebench.models.sparsify.fisher import BlockInverse, collect_gradients
from sparsebench.models.sparsify.gmp import FIRST_PRUNING, LAST_PRUNING, gradual_recipe
from sparsebench.models.sparsify.method import Method, Recipe, Run
from sparsebench.models.sparsify.schedule import cubic_sparsity, hold_then_decay
from sparsebench.models.sparsify.surgeon import remove_cheapest

INITIAL_SPARSITY = 0.05
PRUNINGS = 8
GRADIENTS = 64
IMAGES = 64  # a gradient
BLOCK = 2000
DAMP = 1e-5


class WoodFisher(Method):
    """Remove step by step what costs the loss least, and update the rest (block-wise Fisher)."""

    name = "woodfisher"
    family = "progressive"
    source = "Singh & Alistarh 2020, arXiv:2004.14340"
    needs_start = True
    recipe = Recipe(learning_rate=0.1)
    sparseml_note = "SparseML 1.8 does the same with this recipe, at much more memory."

    def learning_rate(self, progress: float) -> float:
        """Constant while weights are removed, then a linear fall to 0."""
        return hold_then_decay(progress, hold=LAST_PRUNING, warmup=FIRST_PRUNING)

    def sparseml(self, epochs: int) -> str | None:
        """The equivalent recipe of SparseML 1.8, without its optimizer."""
        return gradual_recipe(
            "OBSPruningModifier",
            self.sparsity,
            epochs,
            PRUNINGS - 1,
            global_sparsity=True,
            num_grads=GRADIENTS,
            damp=f"{DAMP:.5f}",  # YAML would take 1e-05 for a text
            fisher_block_size=BLOCK,
            grad_sampler_kwargs=f"{{batch_size: {IMAGES}}}",
        )

    def before_step(self, run: Run, step: int) -> None:
        """Prune where the schedule says so."""
        target = few_prunings(run.total_steps, self.sparsity).get(step)
        if target is not None:
            self.prune(run, target)

    def prune(self, run: Run, target: float) -> None:
        """Gradients, inverse, removal, update."""
        gradients, _ = collect_gradients(run, self.masks, GRADIENTS, IMAGES)
        sizes = [w.numel() for w in run.weights.values()]
        inverse = BlockInverse(gradients, sizes, BLOCK, DAMP)
        self.masks = remove_cheapest(run.weights, self.masks, inverse, target)


def few_prunings(total_steps: int, sparsity: float) -> dict[int, float]:
    """Step -> sparsity from that step on; at most ``PRUNINGS``, the last at ``sparsity``."""
    start = round(FIRST_PRUNING * total_steps)
    end = max(start, min(round(LAST_PRUNING * total_steps), total_steps - 1))
    initial = min(INITIAL_SPARSITY, sparsity)
    steps = {start + round(k * (end - start) / (PRUNINGS - 1)) for k in range(PRUNINGS)}
    return {t: cubic_sparsity(t, start, end, initial, sparsity) for t in sorted(steps)}
