"""What a source finds under a backbone's name: its card, and the way to its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.cards import Card

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Found:
    """A backbone that a source has.

    Args:
        card: its facts.
        load: reads or makes the whole classifier; in any mode, on the CPU. Raises
            SparsebenchError where the weights cannot be had.
        onnx: the ONNX file that the weights come from, to be run as it is; None where the
            network is exported.
        said: filled by ``load``: what was found out about the file (which of its entries are
            the weights, which masks were applied, what is not used).
        absent: what ``load`` would download, empty where nothing. Raises SparsebenchError where
            the weights are not on this machine and nothing fetches them.
    """

    card: Card
    load: Callable[[], nn.Module]
    onnx: Path | None = None
    said: dict[str, str] = field(default_factory=dict)
    absent: Callable[[], str] = lambda: ""
