"""ResNets as torchvision defines them (v1.5: the stride is in the 3x3 convolution)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sparsebench.models.architectures import ArchitectureSpec, TorchvisionWeights
from sparsebench.models.architectures.without_compiler import torchvision_models
from sparsebench.models.cards import Preprocessing

if TYPE_CHECKING:
    from torch import nn


def _torchvision_resnet(num_classes: int, *, depth: int) -> nn.Module:
    module: nn.Module = torchvision_models().get_model(
        f"resnet{depth}", weights=None, num_classes=num_classes
    )
    return module


def _rigl_resnet50(num_classes: int) -> nn.Module:
    from torch import nn

    module = _torchvision_resnet(num_classes, depth=50)
    # TensorFlow's "SAME" pads below and to the right only; a window that hangs over does
    # the same.
    module.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return module


# torchvision's V1 weights, trained without label smoothing, distillation or long
# augmentation recipes: the dense models that the pruning literature starts from.
RESNET18 = ArchitectureSpec(
    "resnet18",
    partial(_torchvision_resnet, depth=18),
    classifier="fc",
    feature_dim=512,
    torchvision=TorchvisionWeights("ResNet18_Weights.IMAGENET1K_V1", 0.69758),
)
RESNET34 = ArchitectureSpec(
    "resnet34",
    partial(_torchvision_resnet, depth=34),
    classifier="fc",
    feature_dim=512,
    torchvision=TorchvisionWeights("ResNet34_Weights.IMAGENET1K_V1", 0.73314),
)
RESNET50 = ArchitectureSpec(
    "resnet50",
    partial(_torchvision_resnet, depth=50),
    classifier="fc",
    feature_dim=2048,
    torchvision=TorchvisionWeights("ResNet50_Weights.IMAGENET1K_V1", 0.76130),
)
# RigL's ResNet-50, trained in TensorFlow: other padding of the max pool, bicubic resize.
RESNET50_RIGL = ArchitectureSpec(
    "resnet50_rigl",
    _rigl_resnet50,
    classifier="fc",
    feature_dim=2048,
    preprocessing=Preprocessing(interpolation="bicubic"),
)
