"""SqueezeNet 1.0: fire modules, no batch norm, the classifier inside the pooling.

Logits are the means over the image of rectified class maps, so the classifier is applied
to every pixel, not to the pooled features; what a new head reads are the means of the last
maps, [N, 512]. Layers and names are torchvision's; its classifier, a 1x1 convolution, is
the same matrix as a Linear layer, ``classifier``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsebench.models.architectures import ArchitectureSpec
from sparsebench.models.cards import Preprocessing

if TYPE_CHECKING:
    from torch import nn

# Caffe's: bytes minus a mean per channel. Its network reads BGR; where weights come from
# Caffe, their first layer is turned round, so that this is RGB like everything else.
CAFFE_PREPROCESSING = Preprocessing(
    size=227,
    resize=256,
    mean=(123 / 255, 117 / 255, 104 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
)


def _squeezenet1_0(num_classes: int) -> nn.Module:
    from sparsebench.models.architectures.squeezenet_module import SqueezeNet

    return SqueezeNet(num_classes)


SQUEEZENET1_0 = ArchitectureSpec(
    "squeezenet1_0", _squeezenet1_0, classifier="classifier", feature_dim=512
)
