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
        self._sparse = [_Sparse(p, masks[p], momentum, weight_decay, nesterov) for p in sparse]
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
        for one in self._sparse:
            one.step(lr)


class _Sparse:
    """One sparse parameter: positions of its non-zeros, their values and momentum."""

    def __init__(
        self,
        parameter: torch.nn.Parameter,
        mask: Tensor,
        momentum: float,
        weight_decay: float,
        nesterov: bool,
    ) -> None:
        self.parameter = parameter
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.flat = _flat(parameter.detach())
        kept = _flat(mask.to(parameter.device).contiguous(memory_format=_format(parameter)))
        self.dense = float(mask.float().mean()) > DENSE_ABOVE
        self.kept = kept
        self.indices = kept.nonzero().view(-1)
        self.values = self.flat.clone() if self.dense else self.flat[self.indices]
        self.velocity: Tensor | None = None

    def step(self, lr: float) -> None:
        gradient = self.parameter.grad
        if gradient is None:
            return
        if gradient.stride() != self.parameter.stride():
            gradient = gradient.contiguous(memory_format=_format(self.parameter))
        flat = _flat(gradient)
        g = flat * self.kept if self.dense else flat.index_select(0, self.indices)
        g.add_(self.values, alpha=self.weight_decay)
        if self.velocity is None:
            self.velocity = g.clone()
        else:
            self.velocity.mul_(self.momentum).add_(g)
        if self.nesterov:
            g.add_(self.velocity, alpha=self.momentum)
        else:
            g = self.velocity
        self.values.add_(g, alpha=-lr)
        if self.dense:
            self.flat.copy_(self.values)
        else:
            self.flat.index_copy_(0, self.indices, self.values)


def _format(tensor: Tensor) -> Any:
    """The memory format in which a tensor is one dense piece."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def _flat(tensor: Tensor) -> Tensor:
    """A view ``[numel]`` in the order of the memory.

    Raises:
        ValueError: the tensor is no dense piece of memory.
    """
    if tensor.is_contiguous():
        return tensor.view(-1)
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).view(-1)
    raise ValueError(f"a tensor of strides {tensor.stride()} is no dense piece of memory")
