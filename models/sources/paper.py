"""The paper source: the upstream checkpoints of the CVPR 2022 paper, from a folder of yours.

``resnet50/acdc-90@paper`` is looked for in the folder that the environment variable
``SPARSEBENCH_PAPER`` names, in its subfolder ``resnet50`` or itself, under the names that
the authors' scripts use (``acdc_90.pth``). Nothing is downloaded: what is missing is said,
with where it was published. Top-1 accuracies are those that the owners of the checkpoints
state, None where they state none for that very file.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.architectures import find_architecture
from sparsebench.models.cards import Card
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.found import Found
from sparsebench.models.names import BackboneName, format_percent
from sparsebench.models.sources import Source
from sparsebench.models.sources.paper_list import PUBLISHED, Published

if TYPE_CHECKING:
    from torch import nn

NAME = "paper"
FOLDER_VARIABLE = "SPARSEBENCH_PAPER"
_SUFFIXES = (".pth", ".ckpt", ".pth.tar", ".pt", ".safetensors")
# How far the zeros of a file may lie from its name: STR reaches 79.6 to 81 % for "80".
_TOLERANCE = 0.03


def folder() -> Path | None:
    """The folder that the user names, None where none is named."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else None


def file_of(published: Published) -> Path | None:
    """Where a checkpoint lies in the user's folder, None where it does not."""
    root = folder()
    if root is None:
        return None
    for place in (root / published.arch, root):
        for stem in published.stems:
            for suffix in _SUFFIXES:
                if (place / f"{stem}{suffix}").is_file():
                    return place / f"{stem}{suffix}"
    return None


def name_of(published: Published) -> str:
    """The backbone's name, e.g. ``resnet50/acdc-90@paper``."""
    return str(BackboneName(published.arch, published.method, published.sparsity, NAME))


def _find(name: BackboneName) -> Found | None:
    for published in PUBLISHED:
        if (published.arch, published.method) != (name.arch, name.method):
            continue
        if abs(published.sparsity - name.sparsity) < 1e-9:
            load = partial(_load, published)
            return Found(_card(published), load, absent=partial(_absent, published))
    return None


def _list_cards() -> list[Card]:
    return [_card(published) for published in PUBLISHED]


def _card(published: Published) -> Card:
    return Card(
        name=name_of(published),
        arch=published.layout,
        method=published.method,
        family=published.family,
        sparsity=published.sparsity,
        preprocessing=find_architecture(published.layout).preprocessing,
        source=NAME,
        sha256=None,
        licence="unknown",
        upstream_accuracy=published.top1,
        upstream_data="ImageNet-1k validation, top-1 as its owners state it"
        if published.top1 is not None
        else None,
        trained=True,
        dense_partner=str(BackboneName(published.arch, "dense", 0.0, NAME)),
        notes=f"{published.note} Published: {published.where}.".strip(),
    )


def _absent(published: Published) -> str:
    _path(published)
    return ""


def _path(published: Published) -> Path:
    name, path = name_of(published), file_of(published)
    if path is None:
        root = folder()
        where = f"is not in '{root}'" if root else "has no folder to be looked for in"
        raise SparsebenchError(
            f"The checkpoint of '{name}' {where}.",
            f"It was published at {published.where}. Put it as {published.stems[0]}.pth into a "
            f"folder (or its subfolder {published.arch}) and set {FOLDER_VARIABLE} to that.",
        )
    return path


def _load(published: Published) -> nn.Module:
    from sparsebench.models.checkpoints import load_checkpoint
    from sparsebench.models.checkpoints.fit import build_from
    from sparsebench.models.masks import mask_of, sparsity

    name, path = name_of(published), _path(published)
    module = build_from(published.layout, load_checkpoint(path), path)
    zeros = sparsity(mask_of(module))
    if abs(zeros - published.sparsity) > _TOLERANCE:
        raise SparsebenchError(
            f"'{path}' is {zeros:.1%} sparse, but should be '{name}'.",
            f"Rename it, or load it as {published.arch}/{published.method}-"
            f"{format_percent(round(zeros, 2))}@{path}.",
        )
    return module


PAPER = Source(NAME, _find, _list_cards)
