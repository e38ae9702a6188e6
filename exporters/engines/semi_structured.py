"""2:4 weights on a GPU's sparse tensor cores, through PyTorch's own semi-structured tensors.

What the precision ``2:4`` of the engine ``torch`` means: bf16, and the linear layers and 1x1
convolutions whose weights have the pattern are multiplied in compressed form. Other layers, and a
dense network, run in bf16 as they are, so the ratio between the two is the pattern's alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.engines.base import EngineError

# Of CUTLASS's kernels in 16 bits: rows and columns of a weight are multiples of these.
_ROWS, _COLUMNS = 32, 64
_GROUP, _KEPT = 4, 2
# With fewer zeros a network counts as dense, which is run as it is.
_DENSE_BELOW = 0.1

Compress = Callable[[Tensor], Tensor]


def compressed(weight: Tensor) -> Tensor:
    """A matrix of 16-bit floats on a GPU in the compressed form."""
    found: Tensor = torch.sparse.to_sparse_semi_structured(weight)
    return found


def matrix_of(layer: nn.Module) -> Tensor | None:
    """The weight ``[out, in]`` of a layer that is one matrix product; None for others."""
    if type(layer) is nn.Linear:
        return layer.weight.detach()
    if type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1:
        return layer.weight.detach().flatten(1) if layer.padding in ((0, 0), "valid") else None
    return None


def why_not(layer: nn.Module) -> str:
    """Why a layer is not multiplied in compressed form; empty where it is."""
    matrix = matrix_of(layer)
    if matrix is None:
        return "no linear layer or 1x1 convolution"
    rows, columns = matrix.shape
    if rows % _ROWS or columns % _COLUMNS:
        return f"{rows} x {columns} is no multiple of {_ROWS} x {_COLUMNS}"
    if int((matrix.reshape(-1, _GROUP) != 0).sum(1).max()) > _KEPT:
        return "a group of four inputs has more than two non-zeros"
    return ""


def use_pattern(module: nn.Module, compress: Compress = compressed) -> dict[str, str]:
    """Multiply a network's 2:4 layers in compressed form from here on.

    Args:
        module: in 16 bits, on the GPU; changed in place.
        compress: makes a matrix the compressed one.

    Returns:
        Each layer with a weight matrix or kernel -> why it is not compressed, or "".

    Raises:
        EngineError: the network has zeros, and none of its layers has the pattern.
    """
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    told = {name: why_not(layer) for name, layer in layers.items()}
    chosen = [name for name, why in told.items() if not why]
    weights = [layer.weight for layer in layers.values()]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    if not chosen and zeros > _DENSE_BELOW * sum(weight.numel() for weight in weights):
        raise EngineError(
            "none of its linear layers and 1x1 convolutions has two zeros in every four inputs; "
            "`sparsify --pattern 2:4` makes such a network"
        )
    for name in chosen:
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, _Compressed(layers[name], compress))
    return told


class _Compressed(nn.Module):
    """A linear layer or 1x1 convolution by a compressed matrix."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, compress: Compress) -> None:
        super().__init__()
        matrix = matrix_of(layer)
        assert matrix is not None
        self.weight = nn.Parameter(compress(matrix.contiguous()), requires_grad=False)
        self.bias = layer.bias
        self.stride = layer.stride if isinstance(layer, nn.Conv2d) else None

    def forward(self, x: Tensor) -> Tensor:
        """As the layer that it stands for."""
        if self.stride is None:
            made = functional.linear(x.reshape(-1, x.shape[-1]), self.weight, self.bias)
            return made.view(*x.shape[:-1], -1)
        x = x[:, :, :: self.stride[0], :: self.stride[1]].permute(0, 2, 3, 1)
        made = functional.linear(x.reshape(-1, x.shape[-1]), self.weight, self.bias)
        return made.view(*x.shape[:-1], -1).permute(0, 3, 1, 2)
