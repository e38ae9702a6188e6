"""The generated source: random weights of exact sparsity, for measuring speed only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sparsebench.models.architectures import ARCHITECTURES, find_architecture
from sparsebench.models.cards import Card
from sparsebench.models.found import Found
from sparsebench.models.names import BackboneName, split_block
from sparsebench.models.sources import Source

if TYPE_CHECKING:
    from torch import nn

NAME = "generated"
METHODS = {
    "uniform": "Every layer equally sparse, the first and the depthwise convolutions dense.",
    "erk": "Layers sparse by Erdős-Rényi-Kernel, as RigL distributes zeros.",
    "global": "Layers sparse as one magnitude threshold over the whole network leaves them.",
}
_EXAMPLE = 0.9


def _find(name: BackboneName) -> Found | None:
    if not name.is_dense and split_block(name.method)[0] not in METHODS:
        return None
    return Found(_card(name), partial(_load, name))


def _list_cards() -> list[Card]:
    return [
        _card(BackboneName(arch, method, 0.0 if method == "dense" else _EXAMPLE))
        for arch in ARCHITECTURES
        for method in ("dense", *METHODS)
    ]


def _card(name: BackboneName) -> Card:
    spec = find_architecture(name.arch)
    base, block = split_block(name.method)
    pattern = METHODS.get(base, "")
    if block > 1:
        pattern += f" Blocks of {block} consecutive input channels are removed together."
    return Card(
        name=str(BackboneName(name.arch, name.method, name.sparsity, NAME)),
        arch=name.arch,
        method=name.method,
        family="dense" if name.is_dense else "generated",
        sparsity=name.sparsity,
        preprocessing=spec.preprocessing,
        source=NAME,
        sha256=None,
        licence="Apache-2.0",
        upstream_accuracy=None,
        upstream_data=None,
        trained=False,
        num_classes=spec.classes,
        dense_partner=str(BackboneName(name.arch, "dense", 0.0, NAME)),
        notes=f"Random weights: only its speed means anything. {pattern}".strip(),
    )


def _load(name: BackboneName) -> nn.Module:
    from sparsebench.models.generated import generate

    return generate(name.arch, name.method, name.sparsity)


GENERATED = Source(NAME, _find, _list_cards)
