"""The head that is trained on an architecture's maps."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.models.architectures import find_architecture
from sparsebench.models.detection.head import DetectionHead
from sparsebench.models.detection.predictors import Predictors


def new_head(
    arch: str | None, channels: Sequence[int], classes: int, *, width: int, seed: int
) -> DetectionHead | Predictors:
    """What is trained on the maps of an architecture, ready for it.

    A detector gets its own last layers, any other network the light head.

    Args:
        arch: name of the architecture; None for any that is no detector.
        channels: of the maps.
        classes: C.
        width: of the light head.
        seed: of the initial weights.
    """
    grids = None if arch is None else find_architecture(arch).grids
    head: DetectionHead | Predictors
    if grids is None:
        head = DetectionHead(channels, classes, width=width, seed=seed)
    else:
        head = Predictors(channels, grids, classes, seed=seed)
    head.prepare()
    return head
