"""A figure as its owner would write it: one file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.present.plots.figures import Wish
from sparsebench.bench.records import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(folders: Sequence[RunFolder], wish: Wish) -> Figure:
    """Cells of each run."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot()
    axes.bar([folder.name for folder in folders], [len(f.records()) for f in folders])
    return figure
