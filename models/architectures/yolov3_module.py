"""The network behind ``yolov3``, up to the maps that boxes are predicted on.

Layers are registered in the order in which they run, which is that of darknet's files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# Width and residual blocks of each stage (table 1); a stage begins with a stride of 2.
_STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))


class Filtered(nn.Sequential):
    """Convolution, batch norm, leaky ReLU: ``[N, C, H, W]`` to ``[N, outputs, H/s, W/s]``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(0.1, inplace=True),
        )


class Residual(nn.Module):
    """A 1x1 convolution of half the width and a 3x3 one, added to what they read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow, self.filter = Filtered(width, width // 2, 1), Filtered(width // 2, width, 3)

    def forward(self, planes: Tensor) -> Tensor:
        """Planes of the same shape."""
        found: Tensor = self.filter(self.narrow(planes))
        return planes + found


class Scale(nn.Module):
    """The convolutions of one scale: `mixed` for the next finer scale, `map` for the boxes.

    Args:
        inputs: channels that it reads.
        width: of its 1x1 convolutions; its map has twice as many channels.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            Filtered(inputs, width, 1),
            Filtered(width, 2 * width, 3),
            Filtered(2 * width, width, 1),
            Filtered(width, 2 * width, 3),
            Filtered(2 * width, width, 1),
        )
        self.last = Filtered(width, 2 * width, 3)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """``[N, inputs, H, W]`` to `mixed` and `map`, of `width` and 2 `width` channels."""
        mixed = self.mix(planes)
        return mixed, self.last(mixed)


class Maps(nn.Module):
    """Images ``[N, 3, H, W]`` to maps of strides 8, 16 and 32, of :attr:`channels` planes."""

    channels = (256, 512, 1024)

    def __init__(self) -> None:
        super().__init__()
        self.stem = Filtered(3, 32, 3)
        self.stages, before = nn.ModuleList(), 32
        for width, count in _STAGES:
            blocks = (Residual(width) for _ in range(count))
            self.stages.append(nn.Sequential(Filtered(before, width, 3, 2), *blocks))
            before = width
        self.coarse = Scale(1024, 512)
        self.narrow_coarse = Filtered(512, 256, 1)
        self.middle = Scale(256 + 512, 256)
        self.narrow_middle = Filtered(256, 128, 1)
        self.fine = Scale(128 + 256, 128)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps, from fine to coarse."""
        planes, seen = self.stem(images), []
        for stage in self.stages:
            planes = stage(planes)
            seen.append(planes)
        mixed, coarse = self.coarse(planes)
        mixed, middle = self.middle(torch.cat((_doubled(self.narrow_coarse(mixed)), seen[3]), 1))
        _, fine = self.fine(torch.cat((_doubled(self.narrow_middle(mixed)), seen[2]), 1))
        return fine, middle, coarse


def _doubled(planes: Tensor) -> Tensor:
    return functional.interpolate(planes, scale_factor=2.0, mode="nearest")
