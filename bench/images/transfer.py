"""From the host's memory to a device without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def send(tensor: Tensor, device: str) -> Tensor:
    """A tensor on a device; the host goes on at once.

    Only from pinned memory does the copy not wait: an ordinary one ends with a wait for all
    that the device was told to do before.

    Args:
        tensor: on the host or on the device already.
        device: ``cpu`` or ``cuda``.
    """
    if tensor.device.type == torch.device(device).type:
        return tensor
    if device.startswith("cuda"):
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
