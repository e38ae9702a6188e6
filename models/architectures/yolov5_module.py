"""The network behind ``yolov5n`` to ``yolov5l``, up to the maps that boxes are predicted on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDTHS = (64, 128, 256, 512, 1024)  # of the stages, at width 1
_DEPTHS = (3, 6, 9, 3)  # bottlenecks of the stages behind the stem, at depth 1
_JOINED = 3  # likewise, of the blocks that join maps


class Filtered(nn.Sequential):
    """Convolution, batch norm, SiLU: planes ``[N, C, H, W]`` to ``[N, outputs, H/s, W/s]``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        around = kernel // 2 if padding is None else padding
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, around, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
            nn.SiLU(inplace=True),
        )


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution of one width, added to what they read where `residual`."""

    def __init__(self, width: int, *, residual: bool) -> None:
        super().__init__()
        self.narrow, self.filter = Filtered(width, width), Filtered(width, width, 3)
        self.residual = residual

    def forward(self, planes: Tensor) -> Tensor:
        """Planes of the same shape."""
        found: Tensor = self.filter(self.narrow(planes))
        return planes + found if self.residual else found


class Partial(nn.Module):
    """A cross-stage partial block: half of the channels go through bottlenecks, half around."""

    def __init__(self, inputs: int, outputs: int, count: int, *, residual: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.through, self.around = Filtered(inputs, half), Filtered(inputs, half)
        self.blocks = nn.Sequential(*(Bottleneck(half, residual=residual) for _ in range(count)))
        self.join = Filtered(2 * half, outputs)

    def forward(self, planes: Tensor) -> Tensor:
        """``[N, inputs, H, W]`` to ``[N, outputs, H, W]``."""
        halves = self.blocks(self.through(planes)), self.around(planes)
        joined: Tensor = self.join(torch.cat(halves, 1))
        return joined


class Pyramid(nn.Module):
    """Maxima over windows of 5, 9 and 13 pixels beside the planes: three pools in a row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow, self.join = Filtered(width, width // 2), Filtered(width // 2 * 4, width)

    def forward(self, planes: Tensor) -> Tensor:
        """Planes of the same shape."""
        found = [self.narrow(planes)]
        for _ in range(3):
            found.append(functional.max_pool2d(found[-1], 5, stride=1, padding=2))
        joined: Tensor = self.join(torch.cat(found, 1))
        return joined


class Maps(nn.Module):
    """Images ``[N, 3, H, W]`` to maps of strides 8, 16 and 32, of :attr:`channels` planes.

    Args:
        depth: factor of the numbers of bottlenecks.
        width: factor of the numbers of channels.
    """

    def __init__(self, depth: float, width: float) -> None:
        super().__init__()
        first, *rest = (math.ceil(c * width / 8) * 8 for c in _WIDTHS)
        counts = [max(1, round(n * depth)) for n in _DEPTHS]
        joined = max(1, round(_JOINED * depth))
        self.stem = Filtered(3, first, 6, 2, padding=2)
        self.shrink, self.stages = nn.ModuleList(), nn.ModuleList()
        for before, after, count in zip((first, *rest), rest, counts, strict=False):
            self.shrink.append(Filtered(before, after, 3, 2))
            self.stages.append(Partial(after, after, count))
        fine, middle, coarse = rest[1:]
        self.pyramid = Pyramid(coarse)
        self.narrow_coarse = Filtered(coarse, middle)
        self.down_middle = Partial(2 * middle, middle, joined, residual=False)
        self.narrow_middle = Filtered(middle, fine)
        self.down_fine = Partial(2 * fine, fine, joined, residual=False)
        self.shrink_fine = Filtered(fine, fine, 3, 2)
        self.up_middle = Partial(2 * fine, middle, joined, residual=False)
        self.shrink_middle = Filtered(middle, middle, 3, 2)
        self.up_coarse = Partial(2 * middle, coarse, joined, residual=False)
        self.channels = (fine, middle, coarse)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps, from fine to coarse."""
        planes, seen = self.stem(images), []
        for shrink, stage in zip(self.shrink, self.stages, strict=True):
            planes = stage(shrink(planes))
            seen.append(planes)
        coarse = self.narrow_coarse(self.pyramid(planes))
        middle = self.narrow_middle(self.down_middle(torch.cat((_doubled(coarse), seen[2]), 1)))
        fine = self.down_fine(torch.cat((_doubled(middle), seen[1]), 1))
        up_middle = self.up_middle(torch.cat((self.shrink_fine(fine), middle), 1))
        up_coarse = self.up_coarse(torch.cat((self.shrink_middle(up_middle), coarse), 1))
        return fine, up_middle, up_coarse


def _doubled(planes: Tensor) -> Tensor:
    return functional.interpolate(planes, scale_factor=2.0, mode="nearest")
