"""Networks side by side: all-zero filters layer by layer, and FLOPs against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import finish, new_figure, styled
from sparsebench.bench.why.inspection import Inspection
from sparsebench.bench.why.model_comparison import accuracy, dead_by_layer, label
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = (9.6, 3.8)


@styled
def save(reports: Sequence[Inspection], path: Path) -> Path:
    """Draw the figure and write it, in the format that the file's suffix names.

    Raises:
        SparsebenchError: the file cannot be written, or its suffix is unknown.
    """
    figure = draw(reports)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=style.PNG_DPI)
    except (OSError, ValueError) as error:
        raise SparsebenchError(
            f"The plot '{path}' cannot be written: {error}.", "Name a .png, .svg or .pdf file."
        ) from None
    return path


@styled
def draw(reports: Sequence[Inspection]) -> Figure:
    """All-zero filters by layer, and FLOPs at a sparsity, of each network."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(*_INCHES)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    left.set_title("Filters that are entirely zero")
    left.set_xlabel("convolution, in the network's order")
    left.set_ylabel("share of its filters, %")
    right.set_title("FLOPs at a sparsity")
    right.set_xlabel("zeros, %")
    right.set_ylabel("non-zero FLOPs, % of dense")
    for place, report in enumerate(reports):
        colour = style.COLOURS[place % len(style.COLOURS)]
        marker = style.MARKERS[place % len(style.MARKERS)]
        top1 = accuracy(report)
        name = label(report) + (f" ({top1:.1%})" if top1 is not None else "")
        shares = [100 * share for _, share in dead_by_layer(report)]
        left.plot(range(1, len(shares) + 1), shares, color=colour, marker=marker, ms=3, label=name)
        if report.flops_ratio is not None:
            right.plot(
                [100 * report.sparsity],
                [100 * report.flops_ratio],
                color=colour,
                marker=marker,
                ms=7,
                linestyle="none",
            )
    left.set_ylim(0, max(5.0, left.get_ylim()[1]))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlim(0, 102)
    right.set_ylim(0, 102)
    # One multiplication fewer for each zero, if all layers were equally sparse.
    right.plot([0, 100], [100, 0], color=style.GUIDE, linewidth=0.8, zorder=0)
    right.annotate(
        "uniform", (52, 50), color=style.QUIET, fontsize=style.SMALL, ha="left", va="bottom"
    )
    finish(figure, list(left.get_lines()))
    return figure
