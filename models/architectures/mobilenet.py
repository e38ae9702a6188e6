"""MobileNet v2 as torchvision defines it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsebench.models.architectures import ArchitectureSpec, TorchvisionWeights
from sparsebench.models.architectures.without_compiler import torchvision_models

if TYPE_CHECKING:
    from torch import nn


def _mobilenet_v2(num_classes: int) -> nn.Module:
    module: nn.Module = torchvision_models().get_model(
        "mobilenet_v2", weights=None, num_classes=num_classes
    )
    return module


MOBILENET_V2 = ArchitectureSpec(
    "mobilenet_v2",
    _mobilenet_v2,
    classifier="classifier.1",  # classifier.0 is a dropout, idle in eval mode
    feature_dim=1280,
    torchvision=TorchvisionWeights("MobileNet_V2_Weights.IMAGENET1K_V1", 0.71878),
)
