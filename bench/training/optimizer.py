"""SGD that touches nothing but the non-zero weights: a fixed mask at no cost.

The published code multiplies every weight with its mask in every forward pass and again after
every step, and lets momentum gather on weights that do not exist. Here a sparse weight's values,
gradients and momentum are gathered from its non-zeros, updated as short vectors, and put
back; a pruned weight is never written, so it can never come back, and the work of the update
shrinks with the density. The result at the non-zeros is that of ``torch.optim.SGD`` (a test
holds it to that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

# Above this density a dense update is cheaper than gathering and putting back.
DENSE_ABOVE = 0.6


class MaskedSGD(torch.optim.Optimizer):
    """SGD with momentum and weight decay, weights outside the masks untouched.

    The update is ``g += weight_decay * w; v = momentum * v + g; w -= lr * v`` (with Nesterov
    ``w -= lr * (g + momentum * v)``), as in ``torch.optim.SGD`` without dampening.

    Args:
        parameters: all that are trained.
        masks: parameter -> bool tensor of its shape, True where it lives; a parameter
            without one is dense. The weights outside must be zero already.
        lr: learning rate.
        momentum: see above.
        weight_decay: see above.
        nesterov: see above.
        together: update all sparse parameters in the same kernels; by default on a GPU, where
            starting a kernel costs more than it does. On the CPU one after another stays in
            the cache.

    Raises:
        ValueError: a mask of another shape, or a weight outside its mask that is not zero.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        masks: Mapping[torch.nn.Parameter, Tensor],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        together: bool | None = None,
    ) -> None:
        everything = list(parameters)
        sparse: list[torch.nn.Parameter] = []
        dense: list[torch.nn.Parameter] = []
        for parameter in everything:
            mask = masks.get(parameter)
            if mask is None or bool(mask.all()):
                dense.append(parameter)
                continue
            if mask.shape != parameter.shape:
                raise ValueError(f"a mask {tuple(mask.shape)} for {tuple(parameter.shape)}")
            if bool((parameter.detach()[~mask] != 0).any()):
                raise ValueError("a weight outside its mask is not zero")
            sparse.append(parameter)
        super().__init__(everything, {"lr": lr, "momentum": momentum})
        self._settings = (momentum, weight_decay, nesterov)
        self._sparse = [_Sparse(p, masks[p]) for p in sparse]
        if together is None:
            together = any(p.is_cuda for p in sparse)
        updated = [one for one in self._sparse if one.values.numel()]
        self._groups = [updated] if together else [[one] for one in updated]
        self._dense = None
        if dense:
            self._dense = torch.optim.SGD(
                dense,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
                nesterov=nesterov,
                fused=all(p.is_floating_point() for p in dense),
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update with the gradients that the parameters hold."""
        if closure is not None:
            raise ValueError("this optimizer takes no closure")
        lr = self.param_groups[0]["lr"]
        if self._dense is not None:
            self._dense.param_groups[0]["lr"] = lr
            self._dense.step()
        for group in self._groups:
            _update([one for one in group if one.parameter.grad is not None], lr, *self._settings)


class _Sparse:
    """One sparse parameter: positions of its non-zeros, their values and momentum."""

    def __init__(self, parameter: torch.nn.Parameter, mask: Tensor) -> None:
        self.parameter = parameter
        self.flat = flat_view(parameter.detach())
        kept = in_memory_order(mask, parameter)
        self.dense = float(mask.float().mean()) > DENSE_ABOVE
        self.pruned = ~kept
        self.indices = kept.nonzero().view(-1)
        self.values = self.flat.clone() if self.dense else self.flat[self.indices]
        self.velocity = torch.zeros_like(self.values)

    def gradient(self) -> Tensor:
        """Of the values, newly made."""
        gradient = self.parameter.grad
        assert gradient is not None
        if gradient.stride() != self.parameter.stride():
            gradient = gradient.contiguous(memory_format=memory_format(self.parameter))
        flat = flat_view(gradient)
        if self.dense:  # no product with the mask: infinity times zero is no zero
            return flat.masked_fill(self.pruned, 0)
        return flat.index_select(0, self.indices)

    def put_back(self) -> None:
        """The values into the parameter."""
        if self.dense:
            self.flat.copy_(self.values)
        else:
            self.flat.index_copy_(0, self.indices, self.values)


def _update(
    group: list[_Sparse], lr: float, momentum: float, weight_decay: float, nesterov: bool
) -> None:
    """One update of some parameters, each operation on all of them at once."""
    if not group:
        return
    values, velocities = [one.values for one in group], [one.velocity for one in group]
    gradients = [one.gradient() for one in group]
    torch._foreach_add_(gradients, values, alpha=weight_decay)
    torch._foreach_mul_(velocities, momentum)
    torch._foreach_add_(velocities, gradients)
    if nesterov:
        torch._foreach_add_(gradients, velocities, alpha=momentum)
    else:
        gradients = velocities
    torch._foreach_add_(values, gradients, alpha=-lr)
    for one in group:
        one.put_back()


def in_memory_order(mask: Tensor, parameter: torch.nn.Parameter) -> Tensor:
    """A parameter's mask ``[numel]`` in the order of the parameter's memory, on its device."""
    mask = mask.to(parameter.device)
    return flat_view(mask.contiguous(memory_format=memory_format(parameter)))


def memory_format(tensor: Tensor) -> Any:
    """The memory format in which a tensor is one dense piece."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def flat_view(tensor: Tensor) -> Tensor:
    """A view ``[numel]`` in the order of the memory.

    Raises:
        ValueError: the tensor is no dense piece of memory.
    """
    if tensor.is_contiguous():
        return tensor.view(-1)
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).view(-1)
    raise ValueError(f"a tensor of strides {tensor.stride()} is no dense piece of memory")
