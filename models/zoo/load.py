"""Loading a backbone: its card, its weights, and the mask that they show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from models.cards import Card
from models.masks import Mask, mask_of, sparsity
from models.names import BackboneName
from models.weights_hash import weights_hash
from models.zoo import find


@dataclass(frozen=True)
class Backbone:
    """A backbone in memory.

    Args:
        card: its facts.
        module: the whole classifier, float32 [N, 3, H, W] -> logits [N, classes], in
            eval mode on the CPU.
        mask: the non-zero pattern of its Conv2d and Linear weights.
        sha256: of the weights themselves (``models.weights_hash``), equal for equal
            weights whatever file they came from.
        onnx: an ONNX file to run as it is, instead of an export; None for all others.
    """

    card: Card
    module: nn.Module
    mask: Mask
    sha256: str
    onnx: Path | None = None

    @cached_property
    def measured_sparsity(self) -> float:
        """Share of zeros, 0..1, that the weights really have."""
        return sparsity(self.mask)


def load_backbone(name: str | BackboneName) -> Backbone:
    """Load, download, generate or prune the weights behind a name.

    Args:
        name: see ``models.zoo.find_card``.

    Raises:
        UnknownNameError: the architecture, method, source or backbone is unknown.
        SparsebenchError: the weights are missing, damaged, of another architecture, or
            cannot be downloaded.
    """
    found = find(name)
    module = found.load().eval()
    return Backbone(found.card, module, mask_of(module), weights_hash(module), found.onnx)
