"""YOLOv5 (v6.0) n, s, m, l: one network at four depths and widths.

Cross-stage partial blocks after CSPNet (Wang et al. 2019, arXiv 1911.11929), a path from coarse to
fine and back (PANet, arXiv 1803.01534), max-pools in a row for spatial pyramid pooling; boxes on
strides 8, 16 and 32. The widths, depths and anchors are those that its authors publish.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sparsebench.models.architectures import ArchitectureSpec
from sparsebench.models.cards import Preprocessing
from sparsebench.models.detection.grids import Grids

if TYPE_CHECKING:
    from torch import nn

GRIDS = Grids(
    strides=(8, 16, 32),
    anchors=(
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    ),
    form="yolov5",
)
PREPROCESSING = Preprocessing(size=640, resize=640, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _yolov5(num_classes: int, *, depth: float, width: float) -> nn.Module:
    from sparsebench.models.architectures.yolov5_module import Maps
    from sparsebench.models.detection.predictors import whole_detector

    return whole_detector(Maps(depth, width), GRIDS, num_classes)


def _spec(letter: str, depth: float, width: float) -> ArchitectureSpec:
    return ArchitectureSpec(
        f"yolov5{letter}",
        partial(_yolov5, depth=depth, width=width),
        classifier="head",
        feature_dim=0,
        preprocessing=PREPROCESSING,
        grids=GRIDS,
        classes=80,
    )


YOLOV5N = _spec("n", 1 / 3, 0.25)
YOLOV5S = _spec("s", 1 / 3, 0.50)
YOLOV5M = _spec("m", 2 / 3, 0.75)
YOLOV5L = _spec("l", 1.0, 1.0)
