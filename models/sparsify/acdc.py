"""Alternating compressed/decompressed training, AC/DC.

Peste, Iofinova, Vladu & Alistarh 2021, "AC/DC: Alternating Compressed/DeCompressed Training
of Deep Neural Networks", arXiv:2106.12379, section 3 and appendix (ImageNet settings).
Sparse and dense phases alternate. At the start of a sparse phase the largest weights
of all convolutions and the classifier, ranked together, are kept at the full target
sparsity; that mask holds through the phase. At the start of a dense phase every weight
may move again, the removed ones from zero, and the momentum of the optimizer is
forgotten. A longer sparse phase ends the training.

On ImageNet a phase is 5 of 100 epochs, the dense warm-up and the last dense phase are two
phases long, the final sparse phase three. Here the same table is scaled to the length of
the training; a short training has fewer phases, so that none is much shorter than an epoch.
Also differs: a one-cycle learning rate instead of a cosine, and the suite's settings of the
optimizer (:class:`sparsebench.models.sparsify.method.Recipe` says which).

SparseML 1.8's ``ACDCPruningModifier`` ranks, masks and forgets momentum in the same way but has
another table: all phases are equally long and whole epochs, so neither the long
last dense phase nor the three units of the final sparse one can be had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sparsebench.models.patterns import two_of_four_masks
from sparsebench.models.sparsify.magnitude import global_magnitude_masks, uniform_magnitude_masks
from sparsebench.models.sparsify.method import Method, Run

MOST_UNITS = 20  # the published 100 epochs in units of 5
FEWEST_UNITS = 8  # warm-up 2, sparse, last dense 2, final sparse 3


@dataclass(frozen=True)
class Phase:
    """Steps ``start`` up to and without ``end``, dense or sparse."""

    start: int
    end: int
    sparse: bool


class AlternatingCompression(Method):
    """Train sparse and dense in turns; end sparse."""

    name = "acdc"
    family = "regularization"
    source = "Peste et al. 2021, arXiv:2106.12379"
    has_blocks = True
    has_patterns = True
    sparseml_note = "SparseML 1.8's ACDCPruningModifier has no longer last dense and sparse phases."

    def before_step(self, run: Run, step: int) -> None:
        """Change between dense and sparse where a phase begins."""
        epochs = run.total_steps / run.steps_per_epoch
        for phase in phase_table(run.total_steps, epochs):
            if phase.start == step:
                self._begin(run, phase)

    def _begin(self, run: Run, phase: Phase) -> None:
        if phase.sparse:
            self.masks = self.largest(run.weights)
            self.apply(run)
            return
        # Removed weights are zero already: they restart from there.
        self.masks = {}
        for state in run.optimizer.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].zero_()

    def largest(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks of the largest weights at the target sparsity."""
        if self.pattern:
            return two_of_four_masks(weights)
        return global_magnitude_masks(weights, self.sparsity, block=self.block)


class UniformAlternatingCompression(AlternatingCompression):
    """The same with a ranking layer by layer; the first one stays dense.

    The authors' uniform networks leave the classifier dense too; here it is pruned as the
    other layers are, so that all uniform methods of the suite share out their zeros alike.
    """

    name = "acdc_uniform"
    has_patterns = False  # a pattern is uniform by itself

    def largest(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks of the largest weights of each layer at the target sparsity."""
        return uniform_magnitude_masks(weights, self.sparsity, block=self.block)


def phase_table(total_steps: int, epochs: float) -> list[Phase]:
    """All phases of a training, in order, without a gap.

    Args:
        total_steps: of the training.
        epochs: of the training; sets how many phases it has.

    Returns:
        Dense first, sparse last, alternating in between.
    """
    # An even number of units leaves an odd number between warm-up and last dense phase:
    # they begin and end sparse.
    units = min(MOST_UNITS, max(FEWEST_UNITS, 2 * int(epochs // 2)))
    lengths = [2, *[1] * (units - 7), 2, 3]
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    steps = [round(total_steps * b / units) for b in bounds]
    steps[-2] = min(steps[-2], total_steps - 1)  # however short, it ends sparse
    phases = [Phase(a, b, k % 2 == 1) for k, (a, b) in enumerate(pairwise(steps))]
    return [p for p in phases if p.end > p.start]
