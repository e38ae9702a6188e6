"""YOLOv3: Darknet-53 and boxes on three scales (Redmon and Farhadi 2018, arXiv 1804.02767)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsebench.models.architectures import ArchitectureSpec
from sparsebench.models.cards import Preprocessing
from sparsebench.models.detection.grids import Grids

if TYPE_CHECKING:
    from torch import nn

# The nine anchors of section 2.3, three for each scale.
GRIDS = Grids(
    strides=(8, 16, 32),
    anchors=(
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    ),
    form="yolov3",
)


def _yolov3(num_classes: int) -> nn.Module:
    from sparsebench.models.architectures.yolov3_module import Maps
    from sparsebench.models.detection.predictors import whole_detector

    return whole_detector(Maps(), GRIDS, num_classes)


YOLOV3 = ArchitectureSpec(
    "yolov3",
    _yolov3,
    classifier="head",
    feature_dim=0,
    preprocessing=Preprocessing(size=416, resize=416, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    grids=GRIDS,
    classes=80,
)
