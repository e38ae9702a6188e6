"""Structured pruning: whole filters, so that any engine gains from the smaller network.

Li, Kadav, Durdanovic, Samet & Graf 2017, "Pruning Filters for Efficient ConvNets",
arXiv:1608.08710: from a trained network, the filters with the smallest sum of absolute weights are
removed, together with what reads their output. Convolutions that write to the same
residual stream lose the same channels; their sums are added up, each relative to its
layer's mean. What removes a channel removes its row in every convolution that produces
it, its column in every layer that reads it and its entry in the batch norms between, so that the
channel can be cut out of the network without any change of its outputs.

All channels are ranked together by the relative sum, in eight prunings along the cubic schedule
of gradual magnitude pruning; the image's channels and the logits stay. Sparsity is counted in
weights, as for every method: at 90 % about a third of the filters is left.

Departs from the paper: it prunes once (or layer by layer) to shares set by hand for each
stage, and chooses the channels of a residual stream by its shortcut convolution alone.

SparseML 1.8's ``StructuredPruningModifier`` is not used: it cannot rank across layers (the same
share is taken from each), and zeroes rows or columns, not both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.models.sparsify.channel_groups import ChannelGroup, channel_groups
from sparsebench.models.sparsify.method import Run
from sparsebench.models.sparsify.woodfisher import WoodFisher

FEWEST_SHARE = 0.05  # of a group's channels that always stays, one at least


class StructuredFilters(WoodFisher):
    """Remove whole filters step by step, and what reads them."""

    name = "structured"
    family = "structured"
    tolerance = 0.1  # a filter of a small network is several points
    source = "Li et al. 2017, arXiv:1608.08710"
    sparseml_note = "SparseML 1.8's StructuredPruningModifier cannot rank filters across layers."

    def sparseml(self, epochs: int) -> None:
        """None does exactly this."""

    def __init__(self, sparsity: float = 0.0) -> None:
        super().__init__(sparsity)
        self.kept: list[Tensor] = []  # of each group, which channels are there
        self._groups: list[ChannelGroup] = []

    def prepare(self, run: Run) -> None:
        """Find out which channels belong together."""
        self._groups = channel_groups(run.module)

    def prune(self, run: Run, target: float) -> None:
        """Remove channels up to a share of all weights."""
        if not self.kept:
            device = next(iter(run.weights.values())).device
            self.kept = [torch.ones(g.size, dtype=torch.bool, device=device) for g in self._groups]
        self.kept = choose_channels(run.weights, self._groups, self.kept, target)
        self.masks = masks_of(run.weights, self._groups, self.kept)
        self.apply(run)

    @torch.no_grad()
    def apply(self, run: Run) -> None:
        """Zero the removed weights, and the batch norm of removed channels."""
        super().apply(run)
        if self.kept:
            for group, kept in zip(self._groups, self.kept, strict=True):
                for name in group.norms:
                    norm = run.module.get_submodule(name)
                    assert isinstance(norm, nn.BatchNorm2d)
                    for tensor in (norm.weight, norm.bias):
                        tensor.masked_fill_(~kept, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Channels beside the masks."""
        return {**super().state_dict(), "kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.kept = list(state["kept"])


@torch.no_grad()
def importance(weights: dict[str, Tensor], group: ChannelGroup) -> Tensor:
    """Sum of absolute weights of each channel's filters, relative to the layers' means.

    Args:
        weights: name of a layer's weight -> weight.
        group: with at least one convolution that produces it.

    Returns:
        float ``[channels]``, 1 on average.
    """
    sums = [
        weights[f"{n}.weight"].abs().flatten(1).sum(1) for n in group.producers + group.depthwise
    ]
    return torch.stack([s / s.mean().clamp(min=1e-12) for s in sums]).mean(0)


def choose_channels(
    weights: Any, groups: list[ChannelGroup], kept: list[Tensor], target: float
) -> list[Tensor]:
    """Remove channels, least important first, until a share of all weights is gone.

    A channel that would overshoot is passed over for a smaller one, so that the result
    comes as close from below as the sizes of the remaining channels allow.

    Args:
        weights: name -> weight of all prunable layers.
        groups: of all channels.
        kept: of each group, bool ``[channels]``; removed ones never return.
        target: share of all weights, 0 to 1.

    Returns:
        As ``kept``.
    """
    shapes = {n.removesuffix(".weight"): tuple(w.shape) for n, w in weights.items()}
    total = sum(w.numel() for w in weights.values())
    counts = [int(k.count_nonzero()) for k in kept]
    rows, columns = _sides(groups)

    def left(layer: str) -> int:
        out, into, *kernel = shapes[layer]
        area = kernel[0] * kernel[1] if kernel else 1
        out = counts[rows[layer]] if layer in rows else out
        into = counts[columns[layer]] if layer in columns else into
        return out * into * area

    touched = [g.producers + g.depthwise + g.consumers for g in groups]
    queue = []
    for index, group in enumerate(groups):
        if not group.fixed and group.producers:
            scores = importance(dict(weights), group).tolist()
            there = kept[index].nonzero().flatten().tolist()
            queue += [(scores[c], index, c) for c in there]
    result = [k.clone() for k in kept]
    budget = round(target * total) - (total - sum(left(layer) for layer in shapes))
    for _, index, channel in sorted(queue):
        if counts[index] <= max(1, round(FEWEST_SHARE * groups[index].size)):
            continue
        before = sum(left(layer) for layer in set(touched[index]))
        counts[index] -= 1
        freed = before - sum(left(layer) for layer in set(touched[index]))
        if freed > budget:
            counts[index] += 1
            continue
        budget -= freed
        result[index][channel] = False
    return result


def masks_of(weights: Any, groups: list[ChannelGroup], kept: list[Tensor]) -> dict[str, Tensor]:
    """The weights of kept channels: name -> bool tensor of the weight's shape."""
    rows, columns = _sides(groups)
    masks = {}
    for name, weight in weights.items():
        layer = name.removesuffix(".weight")
        mask = torch.ones_like(weight, dtype=torch.bool)
        if layer in rows:
            mask &= kept[rows[layer]].view(-1, *[1] * (weight.dim() - 1))
        if layer in columns:
            mask &= kept[columns[layer]].view(1, -1, *[1] * (weight.dim() - 2))
        masks[name] = mask
    return masks


def _sides(groups: list[ChannelGroup]) -> tuple[dict[str, int], dict[str, int]]:
    """Layer -> group of its output channels, and of its input channels."""
    rows = {n: i for i, g in enumerate(groups) for n in g.producers + g.depthwise}
    columns = {n: i for i, g in enumerate(groups) for n in g.consumers}
    return rows, columns
