"""The shipped source: card files of the zoo folder, weights beside them or in a package."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.card_file import Weights, read_card
from sparsebench.models.cards import Budget, Card
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.found import Found
from sparsebench.models.installing import install_command
from sparsebench.models.names import DENSE, BackboneName
from sparsebench.models.sources import Source

if TYPE_CHECKING:
    from torch import nn

ZOO_FOLDER = Path(__file__).parent.parent / "zoo"
ZOO_PACKAGE = "sparsebench_zoo"  # ships the weights where there is no checkout


def find_in(folder: Path, name: BackboneName) -> Found | None:
    """The backbone of a name in a folder of card files, None if it is not there.

    Raises:
        SparsebenchError: a card file is wrong.
    """
    wanted = str(replace(name, source=None))
    for path in card_files(folder):
        card, weights = read_card(path, "zoo")
        if card.name == wanted:
            absent = partial(_absent, path, weights)
            return Found(card, partial(_load, path, card, weights), absent=absent)
    return None


def list_in(folder: Path) -> list[Card]:
    """Cards of a folder, by architecture, dense first, then by method and sparsity."""
    cards = [read_card(path, "zoo")[0] for path in card_files(folder)]
    return sorted(cards, key=lambda c: (c.arch, c.method != "dense", c.method, c.sparsity))


def dense_of(arch: str, budget: Budget | None, folder: Path | None = None) -> BackboneName | None:
    """The dense backbone of a folder (the zoo's by default) to compare with; None without any.

    Of several that of the same training budget, else the plain one.
    """
    dense = [c for c in list_in(folder or ZOO_FOLDER) if (c.arch, c.method) == (arch, DENSE)]
    dense.sort(key=lambda card: (budget is None or card.budget != budget, card.name))
    return BackboneName.parse(dense[0].name) if dense else None


def card_files(folder: Path) -> list[Path]:
    """The card files of a folder in alphabetical order; none if there is no folder."""
    return sorted(folder.glob("*.json"))


def weights_path(card_path: Path, weights: Weights) -> Path:
    """The file that holds a card's weights.

    Raises:
        SparsebenchError: it is missing, or the package that ships it is not installed.
    """
    path = card_path.parent / weights.file
    if weights.package is not None or (card_path.parent == ZOO_FOLDER and not path.is_file()):
        package = weights.package or ZOO_PACKAGE
        distribution = weights.distribution or package.replace("_", "-")
        path = _package_folder(package, distribution) / weights.file
        fix = f"Reinstall the package {distribution}."
    else:
        fix = "Restore the file."
    if not path.is_file():
        raise SparsebenchError(f"The weights '{path}' of '{card_path.name}' are missing.", fix)
    return path


def check_sha256(path: Path, expected: str | None) -> None:
    """Compare a file's content with its card.

    Raises:
        SparsebenchError: they differ.
    """
    if expected is None:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise SparsebenchError(
            f"The weights '{path}' are corrupt: their SHA-256 starts with {actual[:12]}, "
            f"the card says {expected[:12]}.",
            "Reinstall what ships them, or restore the file (git-lfs or a partial copy "
            "may have left a stub).",
        )


def _package_folder(package: str, distribution: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SparsebenchError(
            f"The package {distribution}, which ships these weights, is not installed.",
            f"Install it: {install_command(distribution)}",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _absent(card_path: Path, weights: Weights | None) -> str:
    if weights is not None:
        weights_path(card_path, weights)
    return ""


def _load(card_path: Path, card: Card, weights: Weights | None) -> nn.Module:
    from sparsebench.models.checkpoints import load_checkpoint
    from sparsebench.models.checkpoints.fit import build_from

    if weights is None:
        raise SparsebenchError(
            f"The card '{card_path}' names no weights.", "Add 'weights' with file and sha256."
        )
    path = weights_path(card_path, weights)
    check_sha256(path, weights.sha256)
    return build_from(card.arch, load_checkpoint(path), path, trained=card.trained)


SHIPPED = Source("zoo", lambda name: find_in(ZOO_FOLDER, name), lambda: list_in(ZOO_FOLDER))
