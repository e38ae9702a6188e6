"""Networks side by side: all-zero filters layer by layer, and FLOPs against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.canvas import TWO_COLUMNS, finish, new_figure
from sparsebench.bench.why.inspection import Inspection
from sparsebench.bench.why.model_comparison import accuracy, dead_by_layer, label
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT = 2.6


@style.styled
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


@style.styled
def draw(reports: Sequence[Inspection], flops: bool = True) -> Figure:
    """All-zero filters by layer of each network, and its FLOPs at its sparsity.

    Args:
        reports: the networks.
        flops: whether with the panel of FLOPs.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(TWO_COLUMNS.width, HEIGHT)
    left, *right = figure.subplots(1, 1 + flops, squeeze=False,
                                   width_ratios=(1.6, 1)[: 1 + flops])[0]  # fmt: skip
    left.set_title("Filters that are entirely zero", fontweight="bold")
    left.set_xlabel("convolution, in the network's order")
    left.set_ylabel("share of its filters (%)")
    looks = [dict(zip(("color", "marker"), one, strict=True))
             for one in zip(style.COLOURS, style.MARKERS, strict=True)]  # fmt: skip
    for place, report in enumerate(reports):
        look: Any = looks[place % len(looks)]
        top1 = accuracy(report)
        name = label(report) + (f" ({top1:.1%})" if top1 is not None else "")
        shares = [100 * share for _, share in dead_by_layer(report)]
        left.plot(range(1, len(shares) + 1), shares, **look, ms=3, label=name)
        if right and report.flops_ratio is not None:
            right[0].plot([100 * report.sparsity], [100 * report.flops_ratio], **look, ms=6,
                          linestyle="none")  # fmt: skip
    left.set_ylim(0, max(5.0, left.get_ylim()[1]))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in right:
        axes.set_title("FLOPs at a sparsity", fontweight="bold")
        axes.set_xlabel("zeros (%)")
        axes.set_ylabel("non-zero FLOPs (% of dense)")
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 102)
        # One multiplication fewer for each zero, if all layers were equally sparse.
        axes.plot([0, 100], [100, 0], color=style.GUIDE, linewidth=0.8, zorder=0)
        axes.annotate("uniform", (52, 50), color=style.QUIET, fontsize=style.SMALL, va="bottom")
    clean = [label(report) for report in reports if not any(s for _, s in dead_by_layer(report))]
    notes = [f"No filter is entirely zero in {', '.join(clean)}."] if clean else []
    if any(accuracy(report) is not None for report in reports):
        notes.insert(0, "In brackets: top-1 accuracy on the data that it was pruned on.")
    finish(figure, list(left.get_lines()), " ".join(notes))
    return figure
