"""Loading a backbone: its card, its weights, and the mask that they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sparsebench.models.architectures import classifier_name
from sparsebench.models.cards import Card
from sparsebench.models.masks import Mask, mask_of, sparsity
from sparsebench.models.names import BackboneName, is_onnx_name
from sparsebench.models.onnx_file.backbone import OnnxBackbone
from sparsebench.models.sources.onnx_file import load_onnx
from sparsebench.models.weights_hash import weights_hash
from sparsebench.models.zoo import find


@dataclass(frozen=True)
class Backbone:
    """A backbone in memory.

    Args:
        card: its facts.
        module: the whole classifier, float32 [N, 3, H, W] -> logits [N, classes], in
            eval mode on the CPU.
        mask: the non-zero pattern of its Conv2d and Linear weights.
        sha256: of the weights themselves (``sparsebench.models.weights_hash``), equal for equal
            weights whatever file they came from.
        onnx: an ONNX file to run as it is, instead of an export; None for all others.
        said: what loading its file found out: entries taken, masks applied, what is not used.
    """

    card: Card
    module: nn.Module
    mask: Mask
    sha256: str
    onnx: Path | None = None
    said: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def measured_sparsity(self) -> float:
        """Share of zeros, 0..1, that the weights really have."""
        return sparsity(self.mask)

    def classify(self, features: NDArray[np.float32], side: int) -> NDArray[np.float32]:
        """Upstream logits ``[n, C]`` of features ``[n, D]``, whatever the images' side."""
        head = self.module.get_submodule(classifier_name(self.card.arch))
        assert isinstance(head, nn.Linear)
        with torch.inference_mode():
            logits: NDArray[np.float32] = head(
                torch.from_numpy(np.ascontiguousarray(features))
            ).numpy()
        return logits


def load_backbone(name: str | BackboneName) -> Backbone:
    """Load, download, generate or prune the weights behind a name.

    Args:
        name: see ``sparsebench.models.zoo.find_card``.

    Raises:
        UnknownNameError: the architecture, method, source or backbone is unknown.
        SparsebenchError: the weights are missing, damaged, of another architecture, or
            cannot be downloaded.
    """
    found = find(name)
    module = found.load().eval()
    mask, sha256 = mask_of(module), weights_hash(module)
    return Backbone(found.card, module, mask, sha256, found.onnx, found.said)


def load_to_run(name: str | BackboneName) -> Backbone | OnnxBackbone:
    """What an engine can run: an ONNX file as it stands, or else as :func:`load_backbone`."""
    if isinstance(name, str) and is_onnx_name(name):
        return load_onnx(name)
    return load_backbone(name)
