"""Batch norm in the blocked layout, fused with the addition and activation behind it."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import CNorm, CNormBackward, Library
from sparsebench.exporters.kernels.training.buffers import pointer
from sparsebench.exporters.kernels.training.pooling import Pooled


def norm_forward(
    kernels: Library,
    threads: int,
    norm: nn.BatchNorm2d,
    act: int,
    x: Tensor,
    shape: Blocked,
    residual: Tensor | None,
    y: Tensor,
    training: bool,
    pooled: Pooled | None = None,
    halves: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """``y = act(norm(x) + residual)``, or its maxima over windows.

    Running statistics are updated in training.

    Args:
        kernels: the compiled library.
        threads: to share the work.
        norm: parameters and statistics.
        act: of :mod:`sparsebench.exporters.kernels.compiled.library`.
        x: blocked.
        shape: of x, y and the residual.
        residual: blocked, or None.
        y: blocked; written; may be x where nothing is pooled.
        training: use the batch's statistics.
        pooled: the windows; y is of their shape, and which pixels they take is kept.
        halves: copies of x and y in bf16, written.

    Returns:
        The mean and 1 / deviation that were used, ``[C]`` each.

    Raises:
        ValueError: training with one value a channel, which has no variance (as PyTorch does).
    """
    if training and shape.images * shape.height * shape.width == 1:
        raise ValueError(
            "Expected more than 1 value per channel when training, got one image of one pixel."
        )
    batch = training or norm.running_mean is None
    mean = torch.empty(shape.channels, dtype=x.dtype)
    inverse = torch.empty_like(mean)
    tracked = batch and training and norm.running_mean is not None
    momentum = 0.0 if norm.momentum is None else norm.momentum
    if tracked and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if norm.momentum is None:
            momentum = 1.0 / float(norm.num_batches_tracked)
    if not batch:
        assert norm.running_mean is not None and norm.running_var is not None
        mean.copy_(norm.running_mean)
        inverse.copy_((norm.running_var.double() + norm.eps).rsqrt())
    call = CNorm(
        shape=shape.c,
        input=x.data_ptr(),
        residual=pointer(residual),
        output=y.data_ptr(),
        kept_input=pointer(halves[0]) if halves else None,
        kept_output=pointer(halves[1]) if halves else None,
        weight=pointer(norm.weight),
        bias=pointer(norm.bias),
        mean=mean.data_ptr(),
        inverse=inverse.data_ptr(),
        running_mean=pointer(norm.running_mean) if tracked else None,
        running_var=pointer(norm.running_var) if tracked else None,
        eps=norm.eps,
        momentum=momentum,
        training=int(batch),
        act=act,
    )
    if pooled is None:
        kernels.norm(ctypes.byref(call), threads)
    else:
        kernels.norm_pool(ctypes.byref(call), pooled.reference, pointer(pooled.which), threads)
    return mean, inverse


def norm_backward(
    kernels: Library,
    threads: int,
    norm: nn.BatchNorm2d,
    act: int,
    statistics: tuple[Tensor, Tensor],
    x: Tensor,
    y: Tensor,
    shape: Blocked,
    g: Tensor,
    gx: Tensor,
    *,
    keep: bool,
    training: bool,
    pooled: Pooled | None = None,
) -> tuple[Tensor, Tensor]:
    """The gradient to the input from that to the output of :func:`norm_forward`.

    Args:
        kernels: the compiled library.
        threads: to share the work.
        norm: as in the forward pass.
        act: as in the forward pass.
        statistics: what the forward pass returned.
        x: its input, or the copy in bf16.
        y: its output, or the copy in bf16.
        shape: of all of them.
        g: gradient to the output; becomes that of the residual.
        gx: gradient to the input; written; may be g.
        keep: g must hold the residual's gradient afterwards.
        training: as in the forward pass.
        pooled: as in the forward pass; g and y are of its shape, gx is not g.

    Returns:
        The gradients to weight and bias, ``[C]`` each.
    """
    mean, inverse = statistics
    weight_grad, bias_grad = torch.empty_like(mean), torch.empty_like(mean)
    call = CNormBackward(
        shape=shape.c,
        output_grad=g.data_ptr(),
        output=y.data_ptr(),
        input=x.data_ptr(),
        input_grad=gx.data_ptr(),
        weight=pointer(norm.weight),
        mean=mean.data_ptr(),
        inverse=inverse.data_ptr(),
        weight_grad=weight_grad.data_ptr(),
        bias_grad=bias_grad.data_ptr(),
        training=int(training or norm.running_mean is None),
        act=act,
        keep=int(keep),
        halves=int(x.dtype == torch.bfloat16),
    )
    if pooled is None:
        kernels.norm_backward(ctypes.byref(call), threads)
    else:
        which = pointer(pooled.which)
        kernels.norm_pool_backward(ctypes.byref(call), pooled.reference, which, threads)
    return weight_grad, bias_grad
