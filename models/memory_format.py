"""Which memory format a network trains in."""

import torch
from torch import nn


def channels_last_is_safe(module: nn.Module, device: str) -> bool:
    """Whether the backward pass of `module` may run in channels-last format on `device`.

    On processors without AVX-512, oneDNN's weight gradient of a strided 1x1 convolution over
    fewer than eight channels writes behind its buffer in that format, and the process dies
    (PyTorch 2.15.0; timm's RepVGG begins with such a layer). In the plain format it is correct.
    """
    if not device.startswith("cpu"):
        return True
    return not any(
        isinstance(one, nn.Conv2d)
        and one.kernel_size == (1, 1)
        and one.stride != (1, 1)
        and one.in_channels < 8
        for one in module.modules()
    )


def training_format(module: nn.Module, device: str) -> torch.memory_format:
    """Channels last, which is the faster one in most networks, where it is safe."""
    safe = channels_last_is_safe(module, device)
    return torch.channels_last if safe else torch.contiguous_format
