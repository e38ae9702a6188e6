"""Widths: giving an architecture the layer widths that a state dict has.

A network whose dead channels were removed has the layers of its architecture, only
narrower. What builds it again (an engine's worker, an exporter) starts from the
architecture and takes the widths from the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def load_with_widths(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Load a state dict, first making layers as wide as its tensors, in place.

    Conv2d, Linear and batch-norm layers may change their numbers of channels and nothing
    else: kernels, strides and the wiring stay.

    Args:
        module: a network of the right architecture.
        state_dict: all its parameters and buffers; float tensors of one type.

    Raises:
        RuntimeError: names or other shapes do not fit (torch's own message).
    """
    for name, layer in module.named_modules():
        weight = state_dict.get(f"{name}.weight")
        if weight is None or weight.shape == getattr(layer, "weight", weight).shape:
            continue
        if isinstance(layer, nn.Conv2d) and weight.shape[2:] == layer.weight.shape[2:]:
            _widen_conv(layer, weight)
        elif isinstance(layer, nn.Linear) and weight.dim() == 2:
            layer.out_features, layer.in_features = weight.shape
            layer.weight = _empty(layer.weight, weight.shape)
            if layer.bias is not None:
                layer.bias = _empty(layer.bias, weight.shape[:1])
        elif isinstance(layer, nn.BatchNorm2d) and weight.dim() == 1:
            _widen_norm(layer, weight.shape[0])
    module.load_state_dict(dict(state_dict))


def is_depthwise(layer: nn.Conv2d) -> bool:
    """Whether every channel has one filter of its own."""
    return layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels


def _widen_conv(layer: nn.Conv2d, weight: Tensor) -> None:
    if is_depthwise(layer):
        layer.groups = weight.shape[0]
    layer.out_channels = weight.shape[0]
    layer.in_channels = weight.shape[1] * layer.groups
    layer.weight = _empty(layer.weight, weight.shape)
    if layer.bias is not None:
        layer.bias = _empty(layer.bias, weight.shape[:1])


def _widen_norm(layer: nn.BatchNorm2d, width: int) -> None:
    layer.num_features = width
    shape = torch.Size([width])
    layer.weight = _empty(layer.weight, shape)
    layer.bias = _empty(layer.bias, shape)
    for buffer in ("running_mean", "running_var"):
        setattr(layer, buffer, getattr(layer, buffer).new_zeros(shape))


def _empty(like: Tensor, shape: torch.Size) -> nn.Parameter:
    return nn.Parameter(like.detach().new_zeros(shape), requires_grad=like.requires_grad)
