"""The network behind ``squeezenet1_0``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.models.architectures.without_compiler import torchvision_models


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0: float32 [N, 3, H, W] -> logits [N, C], none of them negative."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        models = torchvision_models()
        self.features: nn.Module = models.get_model("squeezenet1_0", weights=None).features
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, or the mean maps [N, 512] where the classifier is an identity."""
        pixels = self.features(images).flatten(2).transpose(1, 2)
        return torch.relu(self.classifier(pixels)).mean(1)
