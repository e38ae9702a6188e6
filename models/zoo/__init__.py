"""The zoo: every backbone by name, as a card first and as weights on demand.

This folder also holds what the suite ships: one card file (JSON) for each backbone,
beside its weights in the compact format. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sparsebench.models.architectures import find_architecture
from sparsebench.models.cards import Card
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.found import Found
from sparsebench.models.methods import METHODS
from sparsebench.models.names import DENSE, BackboneName, base_method, is_onnx_name
from sparsebench.models.oneshot import ONE_SHOT_METHODS, prune_found
from sparsebench.models.sources import DEFAULT, FILE_SUFFIXES, SOURCES, Source, find_source
from sparsebench.models.sources.generated import METHODS as GENERATED_METHODS
from sparsebench.models.variants import vary


def find_card(name: str | BackboneName) -> Card:
    """The facts about a backbone; its weights are neither read nor made.

    Args:
        name: e.g. ``resnet18/acdc-90``, ``efficientnet_lite0/magnitude-50``,
            ``resnet18/acdc-90+compact``, ``resnet18/dense+epochs17``,
            ``resnet50/erk-90@generated`` or ``resnet18/mine-80@weights/mine.pth``; the path
            alone of a checkpoint whose architecture its tensors tell, or of an ONNX file, to be
            run as it is.

    Raises:
        UnknownNameError: the architecture, method, variant, source or backbone is unknown.
        SparsebenchError: the name does not follow the grammar, or a card is wrong.
    """
    return find(name).card


def list_cards() -> list[Card]:
    """Cards of all sources: what is shipped first, then what can be had or made.

    Generated and one-shot backbones exist at every sparsity; one of each kind stands for
    them.
    """
    return [card for name in SOURCES for card in _cards_of(name)]


def find(name: str | BackboneName) -> Found:
    """A backbone's card together with the way to its weights; raises like find_card."""
    if isinstance(name, str) and is_onnx_name(name):
        from sparsebench.models.sources.onnx_file import find_onnx

        return find_onnx(name)
    parsed = _parse(name) if isinstance(name, str) else name
    find_architecture(parsed.arch)
    if parsed.variant is not None:
        shipped = find_source(None).find(parsed) if parsed.source is None else None
        return shipped or vary(parsed, find(replace(parsed, variant=None)))
    source = find_source(parsed.source)
    found = _look_up(parsed, source)
    if found is None:
        raise _unknown(parsed, source)
    return found


def _parse(name: str) -> BackboneName:
    from sparsebench.models.checkpoints import split_entry
    from sparsebench.models.sources.own_file import is_bare_file, name_of_file

    if is_bare_file(name):
        return name_of_file(name)
    if "@" not in name and split_entry(name)[0].suffix.lower() in FILE_SUFFIXES:
        raise SparsebenchError(f"There is no file '{name}'.", f"Paths start from {Path.cwd()}.")
    return BackboneName.parse(name)


def _look_up(name: BackboneName, source: Source) -> Found | None:
    """What the source has under this name, or what one-shot pruning makes of its dense."""
    found = source.find(name)
    if found is None and base_method(name.method) in ONE_SHOT_METHODS:
        dense = source.find(BackboneName(name.arch, DENSE, 0.0, name.source))
        found = prune_found(name, dense) if dense else None
    return found


def _cards_of(source_name: str) -> list[Card]:
    source = find_source(source_name)
    cards = source.list_cards()
    if source_name != DEFAULT:
        return cards
    examples = [
        find(BackboneName(arch, method, 0.5))
        for arch in dict.fromkeys(card.arch for card in cards if card.method == DENSE)
        for method in ONE_SHOT_METHODS
    ]
    have = {card.name for card in cards}
    return cards + [e.card for e in examples if e.card.name not in have]


def _unknown(name: BackboneName, source: Source) -> SparsebenchError:
    """Say what is missing: the weights here (and where they are), the method, the sparsity."""
    elsewhere = []
    for word in (None, "torchvision", "timm", "paper", "generated"):
        other, there = replace(name, source=word), find_source(word)
        if there.name != source.name and _look_up(other, there) is not None:
            elsewhere.append(str(other))
    if elsewhere:
        shipped = source.name == DEFAULT
        return SparsebenchError(
            f"No weights are shipped for '{name}'."
            if shipped
            else f"The source '{source.name}' has no '{name}'.",
            "They can be had as "
            + " or ".join(f"'{n}'" for n in elsewhere)
            + (" (random weights, for speed only)." if "@generated" in elsewhere[-1] else "."),
        )
    cards = source.list_cards()
    methods = {*(card.method for card in cards), *ONE_SHOT_METHODS, *GENERATED_METHODS, *METHODS}
    if base_method(name.method) not in methods:
        return UnknownNameError("method", name.method, methods)
    return UnknownNameError("backbone", str(name), [card.name for card in cards])
