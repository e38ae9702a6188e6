"""Masks: which weights are kept, as bool tensors beside the parameters' names.

A mask covers the weights of all Conv2d and Linear layers, the classifier included.
Biases and batch norm are never pruned and never counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.models.architectures import prunable_layers
from sparsebench.models.errors import SparsebenchError

Mask = Mapping[str, Tensor]
"""Parameter name (``layer1.0.conv1.weight``) -> bool tensor of its shape, True = kept."""

_HASH_PREFIX = b"sparsebench mask 1\n"


def freeze_mask(mask: Mapping[str, Tensor]) -> Mask:
    """A read-only mapping over the given bool tensors (which are not copied)."""
    return MappingProxyType(dict(mask))


def mask_of(module: nn.Module) -> Mask:
    """The non-zero pattern of all Conv2d and Linear weights, in the network's order.

    NaN and infinity count as kept, minus zero as pruned.
    """
    return freeze_mask(
        {
            f"{name}.weight": layer.weight.detach() != 0
            for name, layer in prunable_layers(module).items()
        }
    )


def mask_of_arrays(arrays: Mapping[str, Any], names: Iterable[str] | None = None) -> Mask:
    """The non-zero pattern of tensors or numpy arrays, e.g. of a file's initializers.

    Args:
        arrays: parameter name -> tensor or array.
        names: which of them the mask covers; all by default.
    """
    chosen = arrays.keys() if names is None else names
    return freeze_mask({name: torch.as_tensor(arrays[name]) != 0 for name in chosen})


def apply_mask(module: nn.Module, mask: Mask) -> None:
    """Set to zero, in place, every weight that the mask does not keep.

    The zeros are exact and positive whatever stood there, NaN included.

    Args:
        module: network with the parameters that the mask names; it may have more.
        mask: bool tensors of the parameters' shapes.

    Raises:
        SparsebenchError: a name is missing in the network, or a shape differs.
    """
    parameters = dict(module.named_parameters())
    for name, kept in mask.items():
        if name not in parameters:
            raise SparsebenchError(
                f"The mask covers '{name}', which the network does not have.",
                "Use a mask of the same architecture.",
            )
        if parameters[name].shape != kept.shape:
            raise SparsebenchError(
                f"The mask of '{name}' has shape {tuple(kept.shape)}, "
                f"the parameter {tuple(parameters[name].shape)}.",
                "Use a mask of the same architecture and class count.",
            )
    with torch.no_grad():
        for name, kept in mask.items():
            parameter = parameters[name]
            parameter.masked_fill_(~kept.to(parameter.device), 0.0)


def mask_hash(mask: Mask) -> str:
    """SHA-256 of a mask, as hex digits: the same on every machine and torch version.

    Hashed are, in the order of the sorted names: the name in UTF-8, a zero byte, the
    shape as decimals joined by commas, a zero byte, and the flags in row-major order,
    eight to a byte, first flag in the highest bit, the last byte filled up with zeros.
    """
    digest = hashlib.sha256(_HASH_PREFIX)
    for name in sorted(mask):
        kept = _as_bool_array(mask[name])
        digest.update(name.encode() + b"\0")
        digest.update(",".join(str(n) for n in kept.shape).encode() + b"\0")
        digest.update(np.packbits(kept.reshape(-1)).tobytes())
    return digest.hexdigest()


def sparsity(mask: Mask) -> float:
    """Share of pruned weights (0..1) over all tensors together; 0 for an empty mask."""
    total = sum(kept.numel() for kept in mask.values())
    kept_total = sum(int(kept.sum()) for kept in mask.values())
    return (total - kept_total) / total if total else 0.0


def _as_bool_array(kept: Tensor) -> NDArray[np.bool_]:
    array: NDArray[np.bool_] = kept.detach().cpu().to(torch.bool).contiguous().numpy()
    return array
