"""Writing a backbone into a zoo folder: compact weights and the card beside them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from sparsebench.models.cards import Card
from sparsebench.models.checkpoints.compact import save_compact
from sparsebench.models.names import BackboneName
from sparsebench.models.sources.shipped import ZOO_FOLDER
from sparsebench.models.zoo.card_file import Weights, write_card


def write_card_and_weights(
    card: Card,
    module: nn.Module,
    *,
    folder: str | Path = ZOO_FOLDER,
    dtype: torch.dtype | None = None,
) -> Card:
    """Write ``<arch>-<method>-<percent>.safetensors`` and its card file.

    The weights are written first: a card is never without them. In a zoo folder the
    backbone then loads by its name, elsewhere as ``<name>@<folder>/<file>``.

    Args:
        card: its facts; `source` and `sha256` are set here, a source in its name is
            dropped.
        module: the whole classifier of ``card.arch``.
        folder: where to; made if missing.
        dtype: float16 or bfloat16 to store weights in 16 bits (they load as float32),
            None to keep their type.

    Returns:
        The card as written.

    Raises:
        SparsebenchError: the folder cannot be written, or a value does not fit `dtype`.
    """
    folder = Path(folder)
    name = replace(BackboneName.parse(card.name), source=None)
    stem = file_stem(name)
    path = folder / f"{stem}.safetensors"
    metadata = {"arch": card.arch, "name": str(name), "num_classes": str(card.num_classes)}
    save_compact(path, module.state_dict(), metadata, dtype)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    written = replace(card, name=str(name), source="zoo", sha256=sha256)
    write_card(folder / f"{stem}.json", written, Weights(path.name, sha256))
    return written


def file_stem(name: BackboneName) -> str:
    """The file name, without suffix, of a backbone: ``resnet18-acdc-90``."""
    return str(replace(name, source=None)).replace("/", "-")
