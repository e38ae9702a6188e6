"""A light detection head: a top-down path over three maps, three boxes for each cell of each.

After the descriptions of YOLOv3 (Redmon and Farhadi, 2018) and of feature pyramids (Lin et al.,
CVPR 2017): a map is brought to a common width by a 1x1 convolution, the coarser one is doubled in
size and added, a 3x3 convolution follows, and a 1x1 convolution predicts for each anchor the
centre, the size, the presence of an object and its class. Decoding is no part of the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.models.detection.grids import BOX_VALUES, FORMS
from sparsebench.models.detection.maps import STRIDES

WIDTH = 64
ANCHORS = 3
"""Boxes for each cell of a map."""
PREDICTED = STRIDES[:2]
"""Strides of the maps that boxes are predicted on; the coarsest one is context alone."""


class DetectionHead(nn.Module):
    """Maps of a backbone to raw predictions.

    Args:
        channels: of the maps, in the order of :data:`STRIDES`.
        classes: C.
        width: channels inside.
        seed: of the initial weights; the global generator is left alone.
    """

    def __init__(
        self, channels: Sequence[int], classes: int, *, width: int = WIDTH, seed: int = 0
    ) -> None:
        super().__init__()
        outputs = ANCHORS * (BOX_VALUES + classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.narrow = nn.ModuleList(_normed(c, width, 1) for c in channels)
            self.mix = nn.ModuleList(_normed(width, width, 3) for _ in PREDICTED)
            self.predict = nn.ModuleList(nn.Conv2d(width, outputs, 1) for _ in PREDICTED)
        self.classes, self.strides, self.form = classes, PREDICTED, FORMS["light"]

    def prepare(self) -> None:
        """For training: presence begins rare (Lin et al., ICCV 2017, section 4.1), not at one half.

        An exported head is not prepared: its outputs would hardly depend on the images, and an
        engine that computes something else would not be found out.
        """
        with torch.no_grad():
            for layer in self.predict:
                assert isinstance(layer, nn.Conv2d) and layer.bias is not None
                layer.weight.mul_(0.1)
                layer.bias.zero_()
                layer.bias.view(ANCHORS, -1)[:, 4] = math.log(0.01 / 0.99)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Raw predictions ``[N, ANCHORS * (5 + C), H, W]`` of each map, in their order."""
        found: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(len(self.narrow))):
            value = self.narrow[level](maps[level])
            if above is not None:
                value = value + functional.interpolate(above, scale_factor=2.0, mode="nearest")
            above = functional.relu(value)
            if level < len(PREDICTED):
                found.append(self.predict[level](functional.relu(self.mix[level](above))))
        return found[::-1]


def _normed(channels: int, width: int, kernel: int) -> nn.Sequential:
    """A convolution and the batch norm that an export folds into it."""
    layer = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width))


class Rows(nn.Module):
    """Several values ``[N, ...]`` as one row for each image, ``[N, D]``."""

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        """Flattened, one behind the other."""
        return torch.cat([torch.flatten(value, 1) for value in values], 1)


class Detector(nn.Module):
    """A head behind the maps of a backbone: images to one row of raw predictions.

    Args:
        maps: from :func:`sparsebench.models.detection.maps.feature_maps`.
        head: None for a network that returns the maps themselves.
    """

    def __init__(self, maps: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.maps, self.head, self.rows = maps, head, Rows()

    def forward(self, images: Tensor) -> Tensor:
        """Float32 ``[N, 3, H, W]`` to ``[N, D]``."""
        values = self.maps(images)
        row: Tensor = self.rows(values if self.head is None else self.head(values))
        return row


def map_shapes(channels: Sequence[int], size: int) -> list[tuple[int, int, int]]:
    """``(C, H, W)`` of each map, or of each raw prediction."""
    return [(c, size // s, size // s) for c, s in zip(channels, STRIDES, strict=True)]


def from_rows(rows: Tensor, shapes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """Back from :class:`Rows`: ``[N, D]`` to values ``[N, *shape]``."""
    pieces = torch.split(rows, [math.prod(shape) for shape in shapes], 1)
    return [p.view(len(rows), *shape) for p, shape in zip(pieces, shapes, strict=True)]
