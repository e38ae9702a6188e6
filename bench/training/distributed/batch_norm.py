"""Batch norm in training over the images of all processes.

PyTorch's own ``SyncBatchNorm`` is for GPUs only. Means and variances of the parts are combined as
Chan, Golub & LeVeque (1979) do, "Updating formulae and a pairwise algorithm for computing sample
variances"; the backward pass needs two more sums a channel (Ioffe & Szegedy 2015, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sparsebench.bench.training.distributed.group import Group


class GlobalBatchNorm(TorchFunctionMode):
    """Inside of it every batch norm that is in training sees the images of all processes.

    It stands in for ``torch.nn.functional.batch_norm``, so it serves every class of layer that
    calls it.

    Args:
        group: the processes; all must run the same network.
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group
        self.sent = 0
        """Bytes that this process gave in the forward passes so far."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """As PyTorch calls it for every function; all but batch norm pass through."""
        if func is functional.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return functional.batch_norm(
                input, running_mean, running_var, weight, bias, False, momentum, eps
            )
        channels = input.shape[1]
        if weight is None:
            weight = input.new_ones(channels, dtype=torch.float32)
        if bias is None:
            bias = input.new_zeros(channels, dtype=torch.float32)
        self.sent += (2 * channels + 1) * 4
        running = (running_mean, running_var)
        made: Tensor = _Normalise.apply(input, weight, bias, running, momentum, eps, self.group)
        return made


class _Normalise(torch.autograd.Function):
    """One layer on one batch."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor | None, Tensor | None],
        momentum: float,
        eps: float,
        group: Group,
    ) -> Tensor:
        channels = x.shape[1]
        own_var, own_mean = torch.var_mean(x.float(), _others(x), correction=0)
        own_count = own_mean.new_full((1,), x.numel() // channels)
        told = group.gathered(torch.cat([own_mean, own_var, own_count]))
        means, variances, counts = told.tensor_split([channels, 2 * channels], dim=1)
        total = counts.sum()
        shares = counts / total
        mean = (means * shares).sum(0)
        var = ((variances + (means - mean).square()) * shares).sum(0)
        running_mean, running_var = running
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = var * (total / (total - 1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps), total)
        ctx.eps, ctx.group = eps, group
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        x, weight, mean, inverse, total = ctx.saved_tensors
        grad = grad.to(x.dtype)
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, None, None, mean, inverse, True, ctx.eps, [False, True, True]
        )
        of_all = ctx.group.summed(torch.cat([of_weight, of_bias]))
        all_weight, all_bias = of_all.chunk(2)
        scale = weight * inverse
        slope = -scale * inverse * all_weight / total
        shift = -scale * all_bias / total - slope * mean
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        of_x = torch.addcmul(shift.view(shape), x, slope.view(shape))
        of_x.addcmul_(grad, scale.view(shape))
        return of_x.to(x.dtype), of_weight, of_bias, None, None, None, None


def _others(x: Tensor) -> list[int]:
    """All dimensions but the channels'."""
    return [0, *range(2, x.dim())]
