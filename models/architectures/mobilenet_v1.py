"""MobileNet v1, width 1.0, as the sparse-transfer papers use it (plain ReLU, ReLU not ReLU6).

Tensors are named as in the layout of AC/DC and STR: ``model.0`` is the first convolution
with its batch norm, ``model.1`` to ``model.13`` are the separable blocks (0 and 1:
depthwise convolution and norm, 3 and 4: pointwise ones), ``fc`` is the classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsebench.models.architectures import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn

# Output channels and stride of the separable blocks (Howard et al. 2017, table 1).
_BLOCKS = (
    ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
    + ((512, 1),) * 5
    + (
        (1024, 2),
        (1024, 1),
    )
)


def _mobilenet_v1(num_classes: int) -> nn.Module:
    from collections import OrderedDict

    from torch import nn

    def filtered(
        inputs: int, outputs: int, kernel: int, stride: int, groups: int
    ) -> list[nn.Module]:
        convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    stages = [nn.Sequential(*filtered(3, 32, 3, 2, 1))]
    width = 32
    for outputs, stride in _BLOCKS:
        depthwise = filtered(width, width, 3, stride, width)
        stages.append(nn.Sequential(*depthwise, *filtered(width, outputs, 1, 1, 1)))
        width = outputs
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["model"] = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1))
    parts["flatten"] = nn.Flatten()
    parts["fc"] = nn.Linear(width, num_classes)
    return nn.Sequential(parts)


MOBILENET_V1 = ArchitectureSpec("mobilenet_v1", _mobilenet_v1, classifier="fc", feature_dim=1024)
