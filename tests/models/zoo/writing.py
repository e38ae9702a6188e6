"""A backbone of a test's own in a zoo folder."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sparsebench.models.card_file import Weights, write_card
from sparsebench.models.cards import Card
from sparsebench.models.checkpoints.compact import save_compact
from sparsebench.models.names import BackboneName
from sparsebench.results.scripts.ship import file_stem


def write_card_and_weights(
    card: Card,
    module: nn.Module,
    *,
    folder: Path,
    dtype: torch.dtype | None = None,
) -> Card:
    """Write ``<arch>-<method>-<percent>.safetensors`` and its card file into a zoo folder."""
    name = replace(BackboneName.parse(card.name), source=None)
    stem = file_stem(name)
    path = folder / f"{stem}.safetensors"
    metadata = {"arch": card.arch, "name": str(name), "num_classes": str(card.num_classes)}
    save_compact(path, module.state_dict(), metadata, dtype)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    written = replace(card, name=str(name), source="zoo", sha256=sha256)
    write_card(folder / f"{stem}.json", written, Weights(path.name, sha256))
    return written
