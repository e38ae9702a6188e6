"""One-shot magnitude pruning: a trained dense backbone without its smallest weights.

Nothing is retrained, so accuracy falls quickly with sparsity; these backbones cost no
training and have known accuracy at moderate sparsity. Importing this module loads no
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from models.names import BackboneName, format_percent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from models.masks import Mask
    from models.sources import Found


def prune_found(name: BackboneName, dense: Found) -> Found:
    """The one-shot pruning of a dense backbone: its card, and how it is made.

    Args:
        name: asked for; its method is a key of :data:`ONE_SHOT_METHODS`.
        dense: the backbone to prune, of the same architecture and source.
    """
    from models.sources import Found

    card = replace(
        dense.card,
        name=str(name),
        method=name.method,
        family="one-shot",
        sparsity=name.sparsity,
        sha256=None,
        upstream_accuracy=None,
        upstream_data=None,
        dense_partner=dense.card.name,
        notes=f"'{dense.card.name}' without the {format_percent(name.sparsity)} % of its weights "
        "that are smallest, not retrained." + ("" if dense.card.trained else " Random weights."),
    )

    def load() -> nn.Module:
        from models.masks import apply_mask

        module = dense.load()
        apply_mask(module, ONE_SHOT_METHODS[name.method](module, name.sparsity))
        return module

    return Found(card, load)


def global_magnitude(module: nn.Module, sparsity: float) -> Mask:
    """Keep the largest magnitudes of the whole network; prunes exactly round(S * N).

    Args:
        module: any network with Conv2d and Linear layers.
        sparsity: share of zeros, 0..1.
    """
    import torch

    from models.architectures import prunable_layers
    from models.masks import freeze_mask

    weights = {f"{n}.weight": m.weight.detach() for n, m in prunable_layers(module).items()}
    kept = _keep_largest(torch.cat([w.abs().reshape(-1) for w in weights.values()]), sparsity)
    mask, start = {}, 0
    for name, weight in weights.items():
        mask[name] = kept[start : start + weight.numel()].reshape(weight.shape)
        start += weight.numel()
    return freeze_mask(mask)


def uniform_magnitude(module: nn.Module, sparsity: float) -> Mask:
    """Keep the largest magnitudes of each layer, every layer equally sparse.

    Args:
        module: any network with Conv2d and Linear layers.
        sparsity: share of zeros, 0..1, in each layer.
    """
    from models.architectures import prunable_layers
    from models.masks import freeze_mask

    weights = {f"{n}.weight": m.weight.detach() for n, m in prunable_layers(module).items()}
    return freeze_mask(
        {
            n: _keep_largest(w.abs().reshape(-1), sparsity).reshape(w.shape)
            for n, w in weights.items()
        }
    )


def _keep_largest(scores: Tensor, sparsity: float) -> Tensor:
    """Bool tensor that is False at exactly round(S * N) of the smallest scores [N]."""
    import torch

    kept = torch.ones(scores.numel(), dtype=torch.bool)
    pruned = round(sparsity * scores.numel())
    # A stable sort breaks ties by position, so that the mask is the same everywhere.
    kept[torch.argsort(scores, stable=True)[:pruned]] = False
    return kept


ONE_SHOT_METHODS: Mapping[str, Callable[[nn.Module, float], Mask]] = {
    "magnitude": global_magnitude,
    "magnitude_uniform": uniform_magnitude,
}
