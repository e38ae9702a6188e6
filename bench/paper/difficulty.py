"""Benefit over dense against the difficulty of a task, with correlation and interval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparsebench.bench.paper.error_increase import whose
from sparsebench.bench.paper.measures import Benefit, Correlation
from sparsebench.bench.paper.transfer_cells import label_of
from sparsebench.bench.present.plots import canvas, style
from sparsebench.bench.present.tables.numbers import MINUS
from sparsebench.models.names import format_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 1.7  # height without the lines of correlations
LINE_INCHES = 0.105
# Light to dark with rising sparsity; the markers differ too.
SHADES = ("#E69F00", "#56B4E9", "#0072B2", "#000000", "#CC79A7", "#009E73")


@style.styled
def draw(paper: Sequence[Benefit], ours: Sequence[Benefit], arch: str) -> list[Figure]:
    """A panel a method; x the tasks' difficulty, y the accuracy change against dense.

    Args:
        paper: of all networks of the paper.
        ours: of all of ours.
        arch: which architecture to show.

    Raises:
        NothingToDrawError: no network of it has a task of known difficulty.
    """
    theirs, mine = ([one for one in found if one.model.arch == arch] for found in (paper, ours))
    everyone = [*theirs, *mine]
    if not everyone:
        raise canvas.NothingToDrawError(
            f"No task of {arch} has a known difficulty.",
            "It needs the dense network after linear and after full fine-tuning.",
        )
    methods = list(dict.fromkeys(one.model.method for one in everyone))
    sparsities = sorted({one.model.sparsity for one in everyone})
    most = max(sum(one.model.method == method for one in everyone) for method in methods)
    height = PANEL_INCHES + LINE_INCHES * most
    shown = []
    for method in methods:
        of_paper, of_ours = ([one for one in found if one.model.method == method]
                             for found in (theirs, mine))  # fmt: skip
        fill = partial(_panel, paper=of_paper, ours=of_ours, sparsities=sparsities,
                       line=LINE_INCHES / (height - 0.55))  # fmt: skip
        shown.append(canvas.Panel(f"{label_of(method)}, {arch}", fill, height=height))
    hardest = sorted(everyone[0].gaps.items(), key=lambda item: -item[1])[:4]
    names = ", ".join(f"{task} {gap:.1f}" for task, gap in hardest)
    note = f"Linear fine-tuning. r: Pearson, with its 95% confidence interval. Hardest: {names}."
    keys = [
        canvas.key(f"{format_percent(sparsity)}% zeros", SHADES[place % len(SHADES)],
            style.MARKERS[place % len(style.MARKERS)])
        for place, sparsity in enumerate(sparsities)
    ]  # fmt: skip
    keys += whose(bool(theirs), bool(mine))
    return canvas.panels(shown, canvas.TWO_COLUMNS, keys, note)


def _panel(
    axes: Axes,
    paper: Sequence[Benefit],
    ours: Sequence[Benefit],
    sparsities: Sequence[float],
    line: float,
) -> None:
    """One method; a line of text is `line` high, as a share of the panel."""
    axes.axhline(0, color=style.DENSE, linewidth=0.8, zorder=1)
    lines = []
    for found, hollow in ((paper, True), (ours, False)):
        for one in sorted(found, key=lambda benefit: benefit.model.sparsity):
            place = sparsities.index(one.model.sparsity)
            colour = SHADES[place % len(SHADES)]
            axes.plot(
                list(one.gaps.values()), list(one.changes.values()), linestyle="",
                marker=style.MARKERS[place % len(style.MARKERS)], markersize=3.8, color=colour,
                markerfacecolor="white" if hollow else colour, zorder=2 if hollow else 3,
            )  # fmt: skip
            if one.of_change is not None:
                whom = "" if hollow else ", ours"
                lines.append(
                    f"{format_percent(one.model.sparsity)}%{whom}: r {_words(one.of_change)}"
                )
    axes.set_xlabel("difficulty: dense full \N{MINUS SIGN} linear (pp)")
    axes.set_ylabel("accuracy change (pp)")
    axes.margins(y=0.1)
    bottom, top = axes.get_ylim()
    taken = line * (len(lines) + 0.5)  # by the correlations, above the points
    axes.set_ylim(bottom, top + (top - bottom) * taken / (1 - taken))
    axes.text(
        0.02, 0.99, "\n".join(lines), transform=axes.transAxes, va="top", ha="left",
        fontsize=style.SMALL - 0.7, color="#333333", linespacing=1.25,
    )  # fmt: skip


def _words(found: Correlation) -> str:
    text = f"{found.r:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
    return text.replace("-", MINUS)
