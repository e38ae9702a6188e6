"""Layers of a network replaced by those of their non-zeros, and ordinary weights again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.training.admission import is_plain
from sparsebench.exporters.kernels.training.layers import SparseConv2d, SparseLinear
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_of


def default_mask(network: nn.Module) -> dict[str, Tensor]:
    """The non-zeros of all convolutions, and of linear layers that have zeros.

    A linear layer of zeros only is no pruned one but a classifier that starts from zero.
    """
    found = mask_of(network)
    return {n: kept for n, kept in found.items() if kept.ndim == 4 or bool(kept.any())}


def replace_layers(
    network: nn.Module, mask: Mapping[str, Tensor], kernels: Library, threads: int
) -> dict[str, nn.Module]:
    """Put sparse layers where the mask names some, and where a convolution can be one.

    Args:
        network: changed in place.
        mask: parameter name -> bool tensor, True = kept.
        kernels: the compiled library.
        threads: to compute with.

    Returns:
        Name -> layer that was replaced.

    Raises:
        SparsebenchError: a mask that does not fit, or a layer that the kernels cannot be.
    """
    layers = dict(network.named_modules(remove_duplicate=False))
    for name in mask:
        if not isinstance(layers.get(name.removesuffix(".weight")), nn.Conv2d | nn.Linear):
            raise SparsebenchError(
                f"The mask covers '{name}', which is no weight of a Conv2d or Linear layer.",
                "Use a mask of the same architecture.",
            )
    made: dict[int, nn.Module] = {}
    replaced = {}
    for name, layer in layers.items():
        if id(layer) in made:  # one layer under two names stays one
            place(network, name, made[id(layer)])
            replaced[name] = layer
            continue
        kept = mask.get(f"{name}.weight")
        if isinstance(layer, nn.Conv2d | nn.Linear) and kept is not None:
            kept = kept.cpu().bool()
            _check(name, layer, kept)
        sparse: nn.Module | None = None
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and is_plain(layer):
            everything = torch.ones(layer.weight.shape, dtype=torch.bool)
            sparse = SparseConv2d(layer, everything if kept is None else kept)
        elif isinstance(layer, nn.Linear) and kept is not None and not bool(kept.all()):
            sparse = SparseLinear(layer, kept, kernels, threads)
        if sparse is not None:
            sparse.training = layer.training
            place(network, name, sparse)
            made[id(layer)], replaced[name] = sparse, layer
    return replaced


def _check(name: str, layer: nn.Conv2d | nn.Linear, kept: Tensor) -> None:
    if kept.shape != layer.weight.shape:
        raise SparsebenchError(
            f"The mask of '{name}' has shape {tuple(kept.shape)}, the weight "
            f"{tuple(layer.weight.shape)}.",
            "Use a mask of the same architecture and class count.",
        )
    if bool((layer.weight.detach()[~kept] != 0).any()):
        raise SparsebenchError(
            f"'{name}' has weights that its mask does not keep.",
            "Apply the mask first (sparsebench.models.masks.apply_mask).",
        )
    if bool(kept.all()):
        return  # whatever it is, PyTorch can go on computing it
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        raise SparsebenchError(
            f"'{name}' pads with {layer.padding_mode}; the kernels pad with zeros.",
            "Leave it out of the mask; what stands behind it cannot be made sparse either.",
        )
    if not is_plain(layer):
        raise SparsebenchError(
            f"'{name}' is a {type(layer).__name__}, whose forward is its own; the kernels would "
            "compute a plain one.",
            "Leave it out of the mask; what stands behind it cannot be made sparse either.",
        )


def dense_state_dict(network: nn.Module, order: list[str]) -> dict[str, Tensor]:
    """Ordinary tensors under ordinary names, in the given order."""
    found: dict[str, Tensor] = {}
    ours = set()
    for name, layer in network.named_modules(remove_duplicate=False):
        if isinstance(layer, SparseConv2d | SparseLinear):
            found[f"{name}.weight"] = layer.state_weight()
            ours |= {f"{name}.values", f"{name}._extra_state"}
    for name, value in network.state_dict().items():
        if name not in ours:
            found[name] = value.detach().clone() if isinstance(value, Tensor) else value
    return OrderedDict((name, found[name]) for name in order)


def place(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer at a dotted name."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer)
