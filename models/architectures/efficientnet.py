"""EfficientNet-Lite0: no squeeze-and-excitation, ReLU6, TensorFlow's "SAME" padding.

timm's ``tf_`` variant is used because the published weights come from TensorFlow:
padding is asymmetric where the stride is 2, and batch norm's eps is 1e-3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsebench.models.architectures import ArchitectureSpec
from sparsebench.models.architectures.without_compiler import timm_library
from sparsebench.models.cards import Preprocessing

if TYPE_CHECKING:
    from torch import nn

# The TensorFlow code scales bytes as (x - 127) / 128.
_MEAN = 127 / 255
_STD = 128 / 255
LITE0_PREPROCESSING = Preprocessing(
    size=224,
    resize=256,
    interpolation="bicubic",
    mean=(_MEAN, _MEAN, _MEAN),
    std=(_STD, _STD, _STD),
)


def _efficientnet_lite0(num_classes: int) -> nn.Module:
    module: nn.Module = timm_library().create_model(
        "tf_efficientnet_lite0", pretrained=False, num_classes=num_classes
    )
    return module


EFFICIENTNET_LITE0 = ArchitectureSpec(
    "efficientnet_lite0",
    _efficientnet_lite0,
    classifier="classifier",
    feature_dim=1280,
    preprocessing=LITE0_PREPROCESSING,
)
