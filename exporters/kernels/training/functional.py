"""A sparse convolution of ordinary ``[N, C, H, W]`` tensors, for one layer at a time.

Layouts are converted on both sides; a whole network (:mod:`exporters.kernels.training.module`)
converts at its edges only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.training.convolution import Convolution


def to_blocked(images: Tensor, kernels: Library, threads: int) -> tuple[Tensor, Blocked]:
    """The blocked copy of ``[N, C, H, W]`` and its shape; unused lanes are zero."""
    n, c, h, w = images.shape
    shape = Blocked(n, c, h, w, kernels.lanes, images.element_size())
    blocked = torch.empty(shape.numel, dtype=images.dtype)
    images = images.contiguous()
    kernels.to_blocked(shape.reference, images.data_ptr(), blocked.data_ptr(), threads)
    return blocked, shape


def from_blocked(blocked: Tensor, shape: Blocked, kernels: Library, threads: int) -> Tensor:
    """The inverse of :func:`to_blocked`."""
    images = torch.empty(
        shape.images, shape.channels, shape.height, shape.width, dtype=blocked.dtype
    )
    kernels.from_blocked(shape.reference, blocked.data_ptr(), images.data_ptr(), threads)
    return images


class _SparseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, values: Tensor, layer: Convolution, kernels: Library, threads: int
    ) -> Tensor:
        x, shape = to_blocked(images, kernels, threads)
        out = layer.output(shape)
        y = torch.empty(out.numel, dtype=images.dtype)
        layer.forward(shape, x, values.contiguous(), y)
        ctx.save_for_backward(x, values)
        ctx.facts = (layer, kernels, threads, shape)
        return from_blocked(y, out, kernels, threads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, values = ctx.saved_tensors
        layer, kernels, threads, shape = ctx.facts
        y_grad, _ = to_blocked(grads[0], kernels, threads)
        x_grad = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        values_grad = layer.backward(shape, x, values.contiguous(), y_grad, x_grad)
        images_grad = None
        if x_grad is not None:
            images_grad = from_blocked(x_grad, shape, kernels, threads)
        return images_grad, values_grad, None, None, None


def sparse_conv2d(
    images: Tensor, values: Tensor, layer: Convolution, kernels: Library, threads: int = 1
) -> Tensor:
    """``conv2d`` with the layer's pattern; differentiable in images and values.

    Args:
        images: ``[N, C, H, W]`` of the kernels' data type, on the CPU.
        values: ``[nnz]``, the non-zeros of the weight in row-major order.
        layer: the pattern.
        kernels: what the layer was made with.
        threads: to convert the layout with.

    Returns:
        ``[N, O, H', W']``.
    """
    out: Tensor = _SparseConvolution.apply(images, values, layer, kernels, threads)
    return out
