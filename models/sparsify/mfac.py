"""M-FAC: gradual pruning by the curvature of the loss, without blocks.

Frantar, Kurtic & Alistarh 2021, "M-FAC: Efficient Matrix-Free Approximations of
Second-Order Information", arXiv:2107.03356, section 3 (the static algorithm). The same costs
and updates as WoodFisher, but by the inverse of the whole empirical Fisher matrix of all
layers together, which is never formed. Within a pruning the density falls in several equal
ratios, with new gradients for each. As in the authors' code: 64 gradients over 32 images
each, dampening 1e-5, all convolutions and the classifier ranked together.

Departs from the authors' code: one block, as in the paper, where theirs takes blocks of 128 unless
told otherwise; four new inverses a pruning instead of 16; the cubic schedule of WoodFisher, which
the paper compares on; learning rate and optimizer as in :mod:`models.sparsify.gmp`; their loop
leaves the last gradient zero, ours does not.

SparseML 1.8's ``MFACPruningModifier`` has the same recursion, scores and updates, but in blocks
of 2,000 weights that run across layers (``fisher_block_size: null`` turns that off), one
inverse a pruning, and, unless it is given a loader of its own, the gradients of the training
steps just past, which saw other weights. So it is not used.
"""

from __future__ import annotations

from sparsebench.models.sparsify.fisher import MatrixFreeInverse, collect_gradients
from sparsebench.models.sparsify.method import Run
from sparsebench.models.sparsify.surgeon import remove_cheapest
from sparsebench.models.sparsify.woodfisher import WoodFisher

GRADIENTS = 64
IMAGES = 32
DAMP = 1e-5
RECOMPUTATIONS = 4


class MatrixFree(WoodFisher):
    """Remove step by step what costs the loss least, and update the rest (whole Fisher)."""

    name = "mfac"
    source = "Frantar, Kurtic & Alistarh 2021, arXiv:2107.03356"
    sparseml_note = "SparseML 1.8's MFACPruningModifier takes one inverse a pruning, not several."

    def sparseml(self, epochs: int) -> None:
        """None does exactly this."""

    def prune(self, run: Run, target: float) -> None:
        """Several times: gradients, inverse, removal, update."""
        for level in steps_of_density(self.current_sparsity(run), target):
            gradients, _ = collect_gradients(run, self.masks, GRADIENTS, IMAGES)
            inverse = MatrixFreeInverse(gradients, DAMP)
            self.masks = remove_cheapest(run.weights, self.masks, inverse, level)


def steps_of_density(before: float, after: float) -> list[float]:
    """Sparsities on the way, such that the density falls by the same ratio each time."""
    ratio = (1 - after) / (1 - before)
    levels = [1 - (1 - before) * ratio ** (k / RECOMPUTATIONS) for k in range(1, RECOMPUTATIONS)]
    return [*levels, after]
