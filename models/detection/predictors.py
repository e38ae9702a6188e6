"""The last layers of a detector of its own: a 1x1 convolution for each of its maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsebench.models.detection.grids import BOX_VALUES, FORMS, Grids
from sparsebench.models.detection.head import Detector


class Predictors(nn.Module):
    """Maps of a detector to raw predictions.

    Args:
        channels: of the maps.
        grids: of the architecture.
        classes: C.
        seed: of the initial weights, the global generator is left alone then; None for torch's.
    """

    def __init__(
        self, channels: Sequence[int], grids: Grids, classes: int, *, seed: int | None = None
    ) -> None:
        super().__init__()
        outputs = [len(sizes) * (BOX_VALUES + classes) for sizes in grids.anchors]
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            layers = [nn.Conv2d(c, o, 1) for c, o in zip(channels, outputs, strict=True)]
        self.predict = nn.ModuleList(layers)
        # A trained network's are its own: those of its task's boxes.
        self.register_buffer("anchors", torch.tensor(grids.anchors, dtype=torch.float32))
        self.grids, self.classes, self.channels = grids, classes, tuple(channels)
        self.strides, self.form = grids.strides, FORMS[grids.form]

    def prepare(self) -> None:
        """For training: presence begins rare (Lin et al., ICCV 2017, section 4.1)."""
        with torch.no_grad():
            for layer, sizes in zip(self.predict, self.grids.anchors, strict=True):
                assert isinstance(layer, nn.Conv2d) and layer.bias is not None
                layer.weight.mul_(0.1)
                layer.bias.zero_()
                layer.bias.view(len(sizes), -1)[:, 4] = math.log(0.01 / 0.99)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Raw predictions ``[N, k * (5 + C), H, W]`` of each map, in their order."""
        return [layer(one) for layer, one in zip(self.predict, maps, strict=True)]


def whole_detector(maps: nn.Module, grids: Grids, classes: int) -> Detector:
    """A detector from its maps' network, which says its `channels`; torch's initial weights."""
    return Detector(maps, Predictors(maps.channels, grids, classes))  # type: ignore[arg-type]
