"""One's own checkpoint as a source: ``resnet18/mine-90@path/to/mine.pth``.

The architecture comes from the name. A card file beside the checkpoint (``mine.json``
beside ``mine.pth``, keys in ``models/card_file.py``) tells what it was trained with;
without one, a file that ``sparsebench sparsify`` wrote tells itself. A file needs no name but
its path where its tensors tell the architecture (:func:`name_of_file`); the preprocessing is then
that of the architecture's usual ImageNet weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.models.architectures import base_architecture, find_architecture, library_of
from sparsebench.models.card_file import read_card
from sparsebench.models.cards import Budget, Card, Family, Preprocessing
from sparsebench.models.checkpoints import split_entry
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.found import Found
from sparsebench.models.names import BackboneName, base_method, format_percent, is_onnx_name
from sparsebench.models.oneshot import ONE_SHOT_METHODS
from sparsebench.models.sources import Source, is_path
from sparsebench.models.sources.labels import DENSE_AT_MOST, LABEL_OFF, WORTH_SAYING
from sparsebench.models.sources.onnx_file import precision_of
from sparsebench.models.sources.shipped import dense_of

if TYPE_CHECKING:
    from torch import nn

    from sparsebench.models.masks import Mask

# Which family a method belongs to, when no card file tells (the paper's taxonomy).
_FAMILIES: dict[str, Family] = {
    "dense": "dense",
    "gmp": "progressive",
    "gmp_uniform": "progressive",
    "woodfisher": "progressive",
    "mfac": "progressive",
    "acdc": "regularization",
    "acdc_uniform": "regularization",
    "str": "regularization",
    "rigl": "regularization",
    "rigl_erk": "regularization",
    "rigl_uniform": "regularization",
    "topkast": "regularization",
    "lth": "lottery ticket",
    "lth_t": "lottery ticket",
    "structured": "structured",
    "magnitude": "one-shot",
    "magnitude_uniform": "one-shot",
}
# What reading a file finds out that belongs into a record.
_SAID = {"weights", "masks", "unused", "ignored", "prefix", "classifier", "named"}


def _family(method: str) -> Family:
    return _FAMILIES.get(base_method(method), "unknown")


def _find(name: BackboneName) -> Found | None:
    assert name.source is not None
    path, entry = split_entry(name.source)
    if not path.is_file():
        raise SparsebenchError(
            f"There is no checkpoint file '{path}' (named by '{name}').", "Check the path."
        )
    described = card_beside(path) or _within(path)
    same = described is not None and described.name == str(replace(name, source=None))
    # A file named after a one-shot method is the dense network to prune, unless its own
    # card says that it is pruned already.
    if base_method(name.method) in ONE_SHOT_METHODS and not same:
        return None
    card = _card(name, path, described)
    onnx = path if path.suffix.lower() == ".onnx" else None
    if onnx is not None:
        card = replace(card, precision=precision_of(onnx))
    said: dict[str, str] = {}
    return Found(card, partial(_load, card, path, entry, said), onnx, said)


def is_bare_file(name: str) -> bool:
    """Whether a backbone's name is the path of a checkpoint and nothing else."""
    if "@" in name or is_onnx_name(name):
        return False
    path, _ = split_entry(name)
    return is_path(path.name) and path.is_file()


def leaves_partner_open(name: str) -> bool:
    """Whether this is the path of a file of which nothing tells the dense baseline."""
    if not is_bare_file(name):
        return False
    path, _ = split_entry(name)
    return card_beside(path) is None and _within(path) is None


def name_of_file(name: str) -> BackboneName:
    """The name of a file: what it or its card says, or what follows from its tensors.

    ``pruned.pth`` with a ResNet-18's tensors, of which 90 % are zero, is
    ``resnet18/pruned-90@pruned.pth``.

    Args:
        name: its path, perhaps with one of its networks (``FILE#ema``).

    Raises:
        SparsebenchError: the tensors are of no architecture that the suite knows, or damaged.
    """
    path, entry = split_entry(name)
    source = str(path) if entry is None else f"{path}#{entry}"
    said = said_by(path)
    if (named := _name_in(said)) is not None:
        return replace(named, source=source)
    if (card := card_beside(path)) is not None:
        return BackboneName(card.arch, card.method, card.sparsity, source)
    stamp = path.stat()
    arch, zeros = _recognised(path, entry, stamp.st_mtime_ns, stamp.st_size)
    if zeros <= DENSE_AT_MOST:
        return BackboneName(arch, "dense", 0.0, source)
    return BackboneName(arch, _method_of(path), round(zeros, 3), source)


@lru_cache(maxsize=64)
def _recognised(path: Path, entry: str | None, modified: int, size: int) -> tuple[str, float]:
    """The architecture of a file's tensors, and its share of zeros."""
    from sparsebench.models.checkpoints import load_checkpoint
    from sparsebench.models.checkpoints.fit import (
        build_from,
        differing,
        matching_architectures,
        nearest_architecture,
    )
    from sparsebench.models.checkpoints.prefixes import OTHERS, naming_of
    from sparsebench.models.masks import mask_of, sparsity

    loaded = load_checkpoint(path, entry)
    claimed = loaded.metadata.get("arch")
    fitting = matching_architectures(loaded.state_dict, entry, claimed)
    if not fitting:
        if (near := nearest_architecture(loaded.state_dict)) is not None:
            differ = differing(near, loaded.state_dict)
            raise SparsebenchError(f"'{path}' is almost a {near}, but {differ}.", OTHERS)
        raise SparsebenchError(
            f"'{path}' does not say which backbone it is.{naming_of(loaded.state_dict)}",
            f"Name it <arch>/<method>-<percent>@{path}, like resnet18/acdc-90@{path} or "
            f"timm:vit_tiny_patch16_224/gmp-90@{path}. {OTHERS}",
        )
    arch = claimed if claimed in fitting else fitting[0]
    return arch, sparsity(mask_of(build_from(arch, loaded, path)))


def _method_of(path: Path) -> str:
    """A file's name as that of the method which pruned it; one-shot methods would prune it."""
    method = re.sub(r"\W+", "_", path.stem, flags=re.ASCII).strip("_")
    if not re.match(r"[A-Za-z]", method) or method == "dense":
        return f"pruned_{method}".rstrip("_")
    return f"own_{method}" if base_method(method) in ONE_SHOT_METHODS else method


def said_by(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; nothing of any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def _name_in(said: Mapping[str, str]) -> BackboneName | None:
    """The name that a file's metadata make up; None where they are no such name."""
    try:
        name = BackboneName(said["arch"], said["method"], float(said["sparsity"]))
        return BackboneName.parse(str(name))
    except (KeyError, ArithmeticError, ValueError, SparsebenchError):
        return None


def _within(path: Path) -> Card | None:
    """The card that follows from what ``sparsebench sparsify`` wrote into its file."""
    said = said_by(path)
    if (name := _name_in(said)) is None:
        return None
    try:
        values = json.loads(said["preprocessing"])
        budget = Budget(**json.loads(said["budget"])) if "budget" in said else None
        lists: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return Card(
            name=str(name),
            arch=name.arch,
            method=name.method,
            family=_family(name.method),
            sparsity=name.sparsity,
            preprocessing=Preprocessing(**lists),
            source=str(path),
            sha256=None,
            licence="unknown",
            upstream_accuracy=float(said["upstream_accuracy"]),
            upstream_data=said["upstream_data"],
            trained=True,
            dense_partner=_partner_of(name.arch, path, budget),
            notes="A file of one's own, made by `sparsebench sparsify`.",
            num_classes=int(said["num_classes"]),
            budget=budget,
        )
    except (KeyError, ValueError, TypeError, RecursionError):
        return None


def _partner_of(arch: str, path: Path, budget: Budget | None) -> str:
    """The dense file that a progressive method left beside its own, or what there is else."""
    beside = path.with_name(f"{path.stem}.dense.safetensors")
    return f"{arch}/dense@{beside}" if beside.is_file() else _dense_partner(arch, budget)


def card_beside(path: Path) -> Card | None:
    """What a card file beside a checkpoint says, None if there is none.

    Raises:
        SparsebenchError: the card file is wrong.
    """
    card_path = path.with_suffix(".json")
    if card_path == path or not card_path.is_file():
        return None
    return read_card(card_path, str(path))[0]


def _card(name: BackboneName, path: Path, described: Card | None) -> Card:
    spec = find_architecture(name.arch)
    family = _family(name.method)
    if described is not None and described.arch == name.arch:
        same_method = described.method == name.method
        return replace(
            described,
            name=str(name),
            method=name.method,
            family=described.family if same_method else family,
            sparsity=name.sparsity,
            source=str(path),
            dense_partner=str(name) if name.is_dense else described.dense_partner,
        )
    return Card(
        name=str(name),
        arch=name.arch,
        method=name.method,
        family=family,
        sparsity=name.sparsity,
        preprocessing=fixed_preprocessing(path) or spec.preprocessing,
        source=str(path),
        sha256=None,
        licence="unknown",
        upstream_accuracy=None,
        upstream_data=None,
        trained=True,
        dense_partner=str(name) if name.is_dense else _dense_partner(name.arch),
        notes=f"A file of one's own; no {path.with_suffix('.json').name} beside it tells its "
        "preprocessing, so that of the architecture's usual ImageNet weights is assumed.",
    )


def fixed_preprocessing(path: Path) -> Preprocessing | None:
    """What a file's format fixes, None where the architecture's usual one is as good."""
    if path.suffix == ".net":
        from sparsebench.models.architectures.squeezenet import CAFFE_PREPROCESSING

        return CAFFE_PREPROCESSING
    return None


def _dense_partner(arch: str, budget: Budget | None = None) -> str:
    """The dense backbone that is shipped, or else the one that torchvision publishes."""
    base = base_architecture(arch)
    elsewhere = BackboneName(base, "dense", 0.0, library_of(arch) or "torchvision")
    return str(dense_of(base, budget) or elsewhere)


def _load(card: Card, path: Path, entry: str | None, said: dict[str, str]) -> nn.Module:
    from sparsebench.models.checkpoints import load_checkpoint
    from sparsebench.models.checkpoints.fit import build_from
    from sparsebench.models.masks import mask_of

    checkpoint = load_checkpoint(path, entry)
    module = build_from(card.arch, checkpoint, path, trained=card.trained)
    said.update({k: v for k, v in checkpoint.metadata.items() if k in _SAID})
    if note := check_label(card, mask_of(module), path, checkpoint.metadata):
        said["sparsity"] = note
    return module


def check_label(card: Card, mask: Mask, path: Path, said: Mapping[str, str]) -> str:
    """Hold the sparsity that a name claims against the zeros of the file.

    A label is taken that is within five points of the zeros over all weights, or over those of
    the layers that have any (the first and the last layer are often left dense).

    Returns:
        What to say beside it; empty where name and file agree.

    Raises:
        SparsebenchError: they do not.
    """
    from sparsebench.models.masks import sparsity

    zeros = sparsity(mask)
    hint = f" {said['weights'][:1].upper()}{said['weights'][1:]}." if "weights" in said else ""
    if card.method == "dense" and zeros > DENSE_AT_MOST:
        raise SparsebenchError(
            f"'{path}' is {zeros:.1%} sparse, but '{card.name}' calls it dense.",
            f"Name it with its method and sparsity, like {card.arch}/gmp-"
            f"{format_percent(round(zeros, 2))}@{path}.",
        )
    if card.method == "dense":
        return f"{zeros:.1%} of its weights are zero" if zeros >= WORTH_SAYING else ""
    if card.sparsity > 0 and zeros == 0:
        raise SparsebenchError(
            f"'{path}' holds no zero weight, but '{card.name}' calls it sparse.{hint}",
            f"Name it {card.arch}/dense@{path}, or save the weights multiplied by their masks.",
        )
    if abs(zeros - card.sparsity) <= LABEL_OFF:
        return ""
    pruned = {name: kept for name, kept in mask.items() if not bool(kept.all())}
    of_pruned = sparsity(pruned) if pruned else 0.0
    if len(pruned) > len(mask) // 2 and abs(of_pruned - card.sparsity) <= LABEL_OFF:
        return (
            f"{zeros:.1%} of all weights are zero, {of_pruned:.1%} of those in the "
            f"{len(pruned)} of {len(mask)} layers that are pruned"
        )
    named = f"{card.method}-{format_percent(round(zeros, 3))}" if zeros >= 0.01 else "dense"
    raise SparsebenchError(
        f"'{path}' is {zeros:.1%} sparse, but '{card.name}' says {card.sparsity:.1%}.{hint}",
        f"Name it {card.arch}/{named}@{path}, or save the weights multiplied by their masks.",
    )


OWN_FILE = Source("file", _find, lambda: [])
