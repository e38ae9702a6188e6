"""Padding that hangs on the input's size, made fixed for the one size of an export.

TensorFlow's networks (timm's ``Conv2dSame``) pad by a formula of their input's height and width,
which an exporter writes as a dozen operators in front of a convolution. The exported network has
one size, so the formula has one result.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional

_KIND = "Conv2dSame"


def pads_by_size(module: nn.Module) -> bool:
    """Whether a layer's padding hangs on the size of its input."""
    return any(type(layer).__name__ == _KIND for layer in module.modules())


def fix_padding(module: nn.Module, example: Tensor) -> None:
    """Give each such layer the padding that it has for inputs like the example, in place.

    Args:
        module: in eval mode.
        example: float32 ``[N, 3, H, W]``.
    """
    sizes: dict[nn.Module, tuple[int, int]] = {}

    def remember(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[layer] = (inputs[0].shape[-2], inputs[0].shape[-1])

    layers = [m for m in module.modules() if type(m).__name__ == _KIND]
    hooks = [layer.register_forward_pre_hook(remember) for layer in layers]
    with torch.inference_mode():
        module(example)
    for hook in hooks:
        hook.remove()
    for layer, size in sizes.items():
        assert isinstance(layer, nn.Conv2d)
        layer.forward = MethodType(_fixed(layer, size), layer)  # type: ignore[method-assign]


def _fixed(layer: nn.Conv2d, size: tuple[int, int]) -> Callable[[nn.Conv2d, Tensor], Tensor]:
    before, after = [], []
    for axis in (0, 1):
        stride, reach = layer.stride[axis], layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        total = max(0, (-(-size[axis] // stride) - 1) * stride + reach - size[axis])
        before.append(total // 2)
        after.append(total - total // 2)

    def forward(self: nn.Conv2d, images: Tensor) -> Tensor:
        pads: tuple[int, ...] = (0, 0)
        if before == after:
            pads = tuple(before)
        else:
            images = functional.pad(images, (before[1], after[1], before[0], after[0]))
        return functional.conv2d(
            images, self.weight, self.bias, self.stride, pads, self.dilation, self.groups
        )

    return forward
