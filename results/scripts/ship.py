"""From a file that :func:`models.sparsify.produce.sparsify` wrote to a backbone of a zoo."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sparsebench.models.card_file import Weights, write_card
from sparsebench.models.cards import Budget, Card, Family, Preprocessing
from sparsebench.models.checkpoints.compact import load_compact
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.methods import METHODS
from sparsebench.models.names import DENSE, BackboneName, base_method
from sparsebench.models.sources.shipped import ZOO_FOLDER, dense_of


def ship(
    path: str | Path,
    licence: str,
    notes: str = "",
    *,
    folder: str | Path = ZOO_FOLDER,
    variant: str | None = None,
) -> Card:
    """Copy a finished file into a zoo folder and write its card from what the file says.

    Args:
        path: a compact file with the metadata of a finished training.
        licence: of the weights.
        notes: for a reader, a sentence or two.
        folder: of the zoo; made if missing.
        variant: of a dense network, what its name says of a longer training (``epochs17``).

    Returns:
        The card as written.

    Raises:
        SparsebenchError: the file does not come from ``sparsify``, or cannot be written.
    """
    path, folder = Path(path), Path(folder)
    _, said = load_compact(path)
    try:
        name = BackboneName(said["arch"], said["method"], float(said["sparsity"]), None, variant)
        preprocessing = Preprocessing(**_tuples(json.loads(said["preprocessing"])))
        accuracy = float(said["upstream_accuracy"])
        classes = int(said["num_classes"])
        data = said["upstream_data"]
        budget = Budget(**json.loads(said["budget"])) if "budget" in said else None
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise SparsebenchError(
            f"{path} does not say how it was trained ({error}).",
            "Give a file that `sparsebench sparsify` wrote.",
        ) from error
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    stem = file_stem(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.safetensors").write_bytes(content)
    except OSError as error:
        raise SparsebenchError(
            f"{folder} cannot be written: {error.strerror}.", "Name a folder you may write to."
        ) from error
    card = Card(
        name=str(name),
        arch=name.arch,
        method=name.method,
        family=cast(Family, METHODS.load(base_method(name.method)).family),
        sparsity=name.sparsity,
        preprocessing=preprocessing,
        source="zoo",
        sha256=digest,
        licence=licence,
        upstream_accuracy=accuracy,
        upstream_data=data,
        trained=True,
        dense_partner=str(
            name
            if name.is_dense
            else dense_of(name.arch, budget, folder) or BackboneName(name.arch, DENSE, 0.0)
        ),
        notes=notes,
        num_classes=classes,
        budget=budget,
    )
    write_card(folder / f"{stem}.json", card, Weights(f"{stem}.safetensors", digest))
    return card


def file_stem(name: BackboneName) -> str:
    """The file name, without suffix, of a backbone: ``resnet18-acdc-90``."""
    return str(replace(name, source=None)).replace("/", "-")


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
