"""Which modules the kernels take: nothing of a network may get lost on the way to them."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from sparsebench.models.errors import SparsebenchError

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def admitted_copy(module: nn.Module) -> nn.Module:
    """A copy of the network with the masks of ``torch.nn.utils.prune`` applied for good.

    Hooks of tensors, such as those that keep a mask, are not copied; a warning says so.

    Raises:
        SparsebenchError: hooks, parametrizations or shared weights, which would have no effect.
    """
    if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
        raise SparsebenchError(
            f"A {type(module).__name__} alone is no network.", "Put it into an nn.Sequential."
        )
    _refuse_parametrized(module)
    # A pruned layer's weight is computed by its hook: no leaf, which deepcopy would refuse.
    memo: dict[int, object] = {}
    for layer in module.modules():
        for hook in _pruning_of(layer):
            computed: Tensor = getattr(layer, hook._tensor_name)
            memo[id(computed)] = computed.detach().clone()
    network = copy.deepcopy(module, memo)
    for layer in network.modules():
        for hook in _pruning_of(layer):
            prune.remove(layer, hook._tensor_name)  # type: ignore[no-untyped-call]
    _refuse_hooks(network)
    _refuse_shared(network)
    watched = [name for name, p in module.named_parameters() if p._backward_hooks]
    if watched:
        warnings.warn(
            f"The hook of the weight '{watched[0]}' is not called on the sparse network "
            "(it needs none to keep its mask).",
            stacklevel=3,
        )
    return network


def is_plain(layer: nn.Module) -> bool:
    """Whether a Conv2d, BatchNorm2d or Linear computes what PyTorch's own does.

    A subclass with a forward of its own (weight standardisation, say) does not; timm's
    ``Conv2dSame`` and ``BatchNormAct2d`` are known.
    """
    kind = type(layer)
    if "forward" in vars(layer):
        return False
    if isinstance(layer, nn.Conv2d):
        inner: object = getattr(kind, "_conv_forward", None)
        own = kind.forward is nn.Conv2d.forward and inner is nn.Conv2d._conv_forward
        return own or kind.__name__ == "Conv2dSame"
    if isinstance(layer, nn.BatchNorm2d):
        return kind.forward is nn.BatchNorm2d.forward or kind.__name__ == "BatchNormAct2d"
    return isinstance(layer, nn.Linear) and kind.forward is nn.Linear.forward


def _pruning_of(layer: nn.Module) -> list[prune.BasePruningMethod]:
    hooks = layer._forward_pre_hooks.values()
    return [hook for hook in hooks if isinstance(hook, prune.BasePruningMethod)]


def _refuse_parametrized(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer):
            raise SparsebenchError(
                f"'{name}' computes its weight from others (torch.nn.utils.parametrize), which "
                "the kernels do not train.",
                "Call torch.nn.utils.parametrize.remove_parametrizations first.",
            )


def _refuse_hooks(network: nn.Module) -> None:
    for name, layer in network.named_modules():
        for kind in _HOOKS:
            for hook in getattr(layer, kind).values():
                what = getattr(hook, "__name__", type(hook).__name__)
                raise SparsebenchError(
                    f"'{name or type(network).__name__}' has a hook ({what}), which the kernels "
                    "would not call.",
                    "Remove it; the returned network can have hooks of its own.",
                )


def _refuse_shared(network: nn.Module) -> None:
    """One parameter in two layers; one layer under two names is no trouble."""
    owners: dict[int, tuple[str, nn.Module]] = {}
    for name, layer in network.named_modules():
        for key, parameter in layer.named_parameters(recurse=False):
            full = f"{name}.{key}" if name else key
            first = owners.setdefault(id(parameter), (full, layer))
            ours = isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
            if first[1] is not layer and ours:
                raise SparsebenchError(
                    f"'{first[0]}' and '{full}' are one tensor; the kernels would train two.",
                    "Give each layer a weight of its own.",
                )


def check_images(images: Tensor, dtype: torch.dtype) -> None:
    """Whether the kernels can read them: they see addresses, not types.

    Raises:
        SparsebenchError: not ``[N, C, H, W]`` of this data type on the CPU, or no image.
    """
    if images.ndim != 4 or not images.numel():
        raise SparsebenchError(
            f"The images have shape {tuple(images.shape)}.", "It must be [N, C, H, W], N > 0."
        )
    if images.dtype != dtype or images.device.type != "cpu":
        short = str(dtype).removeprefix("torch.")
        raise SparsebenchError(
            f"The images are {images.dtype} on {images.device}; this network computes in "
            f"{dtype} on the CPU.",
            f"Give it `images.to('cpu', torch.{short})`.",
        )
