"""Methods that prune a trained network, for whoever has none yet: dense first, then sparse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench.models.checkpoints.compact import load_compact
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images import open_images
from sparsebench.models.images.labelled import ReadOptions
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.distill import load_teacher
from sparsebench.models.sparsify.produce import Produced, sparsify
from sparsebench.models.sparsify.settings import check_settings

DENSE_SHARE = 0.5  # of the epochs


@dataclass(frozen=True)
class Made:
    """What :func:`make` made.

    Attributes:
        sparse: the file asked for.
        dense: the dense baseline that was trained for it, if one had to be; None where it was
            there from an earlier call too.
        dense_path: where that lies.
    """

    sparse: Produced
    dense: Produced | None = None
    dense_path: Path | None = None


def stages(method: str, epochs: int, start: str | Path | None) -> tuple[int, int]:
    """Epochs of dense training that come first, and epochs of the method itself.

    Raises:
        UnknownNameError: no such method.
        SparsebenchError: one epoch is too few for both.
    """
    if start is not None or not METHODS.load(method).needs_start:
        return 0, epochs
    if epochs < 2:
        raise SparsebenchError(
            f"{method} prunes a network that is trained already, and one epoch is too few to "
            "train one first.",
            "Name a trained one with --start, or give 2 epochs or more.",
        )
    dense = round(DENSE_SHARE * epochs)
    return dense, epochs - dense


def make(
    arch: str,
    method: str,
    sparsity: float,
    data: str | Path,
    epochs: int,
    out: str | Path,
    *,
    start: str | Path | None = None,
    stage: Callable[[str, int, int], None] | None = None,
    **settings: Any,
) -> Made:
    """As :func:`models.sparsify.produce.sparsify`, with dense training first where it lacks.

    The dense network is written beside ``out`` as ``*.dense.safetensors`` and kept: it is
    what the sparse one is compared with. Called again, it is used if it
    is the same training's.

    Args:
        arch: an architecture's name.
        method: a name in :data:`sparsebench.models.methods.METHODS`.
        sparsity: share of all prunable weights that shall be zero, 0 to 1.
        data: folder or tar with ``train/CLASS/*`` and ``test/CLASS/*`` (or ``val``).
        epochs: of both stages together.
        out: file to write, ``*.safetensors``.
        start: checkpoint file or backbone name to start from; then there is one stage.
        stage: called before each stage with its name ("dense" or the method's), its number
            from 0, and how many there are.
        settings: further arguments of ``sparsify``.

    Raises:
        SparsebenchError: anything that the user can put right.
    """
    first, rest = stages(method, epochs, start)
    out, announce = Path(out), stage or (lambda *_: None)
    if not first:
        announce(method, 0, 1)
        made = sparsify(arch, method, sparsity, data, rest, out, start=start, **settings)
        return Made(made)
    dense_out = out.with_name(f"{out.stem}.dense.safetensors")
    # What the second stage would refuse is refused before the first.
    check_settings(
        arch,
        method,
        sparsity,
        rest,
        out,
        dense_out,
        settings.get("overwrite", False),
        settings.get("size", 64),
        settings.get("seed", 0),
        settings.get("recipe") or {},
        settings.get("block", 1),
    )
    if settings.get("teacher") is not None:
        load_teacher(str(settings["teacher"]), list(_classes(data, settings)), "cpu")
    dense = None
    fresh = not settings.get("resume", True)
    if fresh or not _is_done(dense_out, arch, first, data, settings):
        announce("dense", 0, 2)
        again = settings | {"overwrite": fresh or settings.get("overwrite", False)}
        # Settings of the method's recipe are not meant for dense training, but the batch is.
        again["recipe"] = _only_batch(settings.get("recipe"))
        again["teacher"] = None
        again["block"] = 1
        dense = sparsify(arch, "dense", 0.0, data, first, dense_out, **again)
    announce(method, 1, 2)
    made = sparsify(arch, method, sparsity, data, rest, out, start=dense_out, **settings)
    return Made(made, dense, dense_out)


def _only_batch(recipe: dict[str, Any] | None) -> dict[str, Any] | None:
    chosen = {k: v for k, v in (recipe or {}).items() if k in ("batch_size", "sides")}
    return chosen or None


def _classes(data: str | Path, settings: dict[str, Any]) -> tuple[str, ...]:
    return open_images(Path(data), settings.get("reading") or ReadOptions()).classes


def _is_done(
    path: Path, arch: str, epochs: int, data: str | Path, settings: dict[str, Any]
) -> bool:
    """Whether a dense file is what the first stage would make."""
    if not path.is_file():
        return False
    _, said = load_compact(path)
    size = settings.get("size", 64)
    wanted = {
        "arch": arch,
        "method": "dense",
        "epochs": str(epochs),
        "seed": str(settings.get("seed", 0)),
        "classes": json.dumps(_classes(data, settings)),
    }
    try:
        preprocessing = dict(json.loads(said.get("preprocessing", "{}")))
    except (ValueError, TypeError, RecursionError):
        return False
    return all(said.get(k) == v for k, v in wanted.items()) and preprocessing.get("size") == size
