"""timm's published weights, downloaded when ``timm:NAME/dense@timm`` is first used."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sparsebench.models.architectures import find_architecture, library_of
from sparsebench.models.architectures.without_compiler import timm_library
from sparsebench.models.cards import Card
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.found import Found
from sparsebench.models.names import BackboneName
from sparsebench.models.sources import Source

if TYPE_CHECKING:
    from torch import nn

NAME = "timm"


def _find(name: BackboneName) -> Found | None:
    if not name.is_dense or library_of(name.arch) != NAME:
        return None
    entry = name.arch.partition(":")[2]
    config = timm_library().get_pretrained_cfg(entry)
    if config is None or not (config.hf_hub_id or config.url):
        return None
    own = str(BackboneName(name.arch, "dense", 0.0, NAME))
    card = Card(
        name=own,
        arch=name.arch,
        method="dense",
        family="dense",
        sparsity=0.0,
        preprocessing=find_architecture(name.arch).preprocessing,
        source=NAME,
        sha256=None,
        licence=config.license or "unknown",
        upstream_accuracy=None,
        upstream_data=None,
        trained=True,
        dense_partner=own,
        notes=f"timm's {entry}.{config.tag}, downloaded when first used.",
        num_classes=int(config.num_classes),
    )
    return Found(card, partial(_load, name.arch, card.num_classes))


def _load(arch: str, classes: int) -> nn.Module:
    entry = arch.partition(":")[2]
    try:
        state = timm_library().create_model(entry, pretrained=True).state_dict()
    except Exception as error:  # the hub, the network and the file fail in many ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SparsebenchError(
            f"timm's weights for '{entry}' could not be loaded: {reason}.",
            f"Name a file of yours, {arch}/dense@FILE; or '{arch}/dense@generated' (random "
            "weights, speed only).",
        ) from None
    from sparsebench.models.checkpoints.layouts import with_one_head

    spec = find_architecture(arch)
    module = spec.builder(classes)
    module.load_state_dict(with_one_head(state, spec.classifier))
    return module


TIMM = Source(NAME, _find, lambda: [])
