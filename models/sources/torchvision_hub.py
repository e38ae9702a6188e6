"""The torchvision source: its ImageNet weights, downloaded once by torchvision itself."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sparsebench.models.architectures import ARCHITECTURES, ArchitectureSpec, find_architecture
from sparsebench.models.architectures.without_compiler import torchvision_models
from sparsebench.models.cards import Card
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.found import Found
from sparsebench.models.names import BackboneName
from sparsebench.models.sources import Source

if TYPE_CHECKING:
    from torch import nn

NAME = "torchvision"
# A host that does not answer within this time is taken as out of reach.
_CONNECT_SECONDS = 10.0


def _find(name: BackboneName) -> Found | None:
    spec = find_architecture(name.arch)
    if not name.is_dense or spec.torchvision is None:
        return None
    return Found(_card(spec), partial(_load, spec), absent=partial(_absent, spec))


def _list_cards() -> list[Card]:
    specs = [find_architecture(arch) for arch in ARCHITECTURES]
    return [_card(spec) for spec in specs if spec.torchvision is not None]


def _card(spec: ArchitectureSpec) -> Card:
    assert spec.torchvision is not None
    name = f"{spec.name}/dense@{NAME}"
    return Card(
        name=name,
        arch=spec.name,
        method="dense",
        family="dense",
        sparsity=0.0,
        preprocessing=spec.preprocessing,
        source=NAME,
        sha256=None,
        licence="BSD-3-Clause",
        upstream_accuracy=spec.torchvision.top1,
        upstream_data="ImageNet-1k validation, top-1 as torchvision states it",
        trained=True,
        dense_partner=name,
        notes=f"{spec.torchvision.entry}, downloaded when first used.",
    )


def _weights(spec: ArchitectureSpec) -> tuple[Any, Path]:
    """Torchvision's entry, and where its file lies once it is downloaded."""
    import torch

    assert spec.torchvision is not None
    weights = torchvision_models().get_weight(spec.torchvision.entry)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return weights, folder / Path(urlsplit(weights.url).path).name


def _absent(spec: ArchitectureSpec) -> str:
    weights, cached = _weights(spec)
    if cached.is_file():
        return ""
    return f"torchvision's weights for {spec.name} ({weights.meta['_file_size']:.0f} MB)"


def _load(spec: ArchitectureSpec) -> nn.Module:
    weights, cached = _weights(spec)
    try:
        # torch announces its download on stdout, where others may read JSON.
        with _patience(_CONNECT_SECONDS), redirect_stdout(sys.stderr):
            state_dict = weights.get_state_dict(progress=False, check_hash=True)
    # urllib, the unpickler and torchvision's hash check fail in many ways; all of them
    # mean that the weights could not be had.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SparsebenchError(
            f"torchvision's weights for {spec.name} could not be loaded: {reason}.",
            f"Download {weights.url} on a machine that can, and put it at {cached}; or use "
            f"'{spec.name}/dense@generated' (random weights, speed only).",
        ) from None
    module = spec.builder(len(weights.meta["categories"]))
    module.load_state_dict(state_dict)
    return module


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Let sockets that are opened inside give up when nothing comes for so long."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


TORCHVISION = Source(NAME, _find, _list_cards)
