"""Accuracy by sparsity, a small panel for each task: the paper's lines, our points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparsebench.bench.paper.error_increase import whose
from sparsebench.bench.paper.transfer_cells import DENSE, Cell, Transfer, in_order, label_of
from sparsebench.bench.present.plots import canvas, style
from sparsebench.bench.present.plots.marks import Span, draw_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 1.6
THEIRS, OURS = (0, (4, 2)), (0, (1, 1.2))  # lines of dense
FAR_BELOW = 15.0
"""Percentage points below dense at which a line leaves its panel, so that the others stay apart."""


@style.styled
def draw(
    paper: Sequence[Cell], ours: Sequence[Cell], arch: str, transfer: Transfer
) -> list[Figure]:
    """The grid of one architecture and kind of fine-tuning.

    Args:
        paper: all cells of the paper.
        ours: all cells of ours.
        arch: which architecture to show.
        transfer: which kind of fine-tuning to show.

    Raises:
        NothingToDrawError: there is no such cell.
    """
    theirs, mine = (
        [cell for cell in cells if (cell.model.arch, cell.transfer) == (arch, transfer)]
        for cells in (paper, ours)
    )
    tasks = sorted({cell.task for cell in (*theirs, *mine)})
    if not tasks:
        raise canvas.NothingToDrawError(
            f"There is no accuracy of {arch} after {transfer} fine-tuning.", "Measure one."
        )
    models = in_order(cell.model for cell in (*theirs, *mine))
    methods = list(dict.fromkeys(m.method for m in models if m.method != DENSE))
    looks = style.method_looks(methods)
    shown = []
    for task in tasks:
        cells = [[cell for cell in found if cell.task == task] for found in (theirs, mine)]
        fill = partial(_panel, paper=cells[0], ours=cells[1], looks=looks)
        shown.append(canvas.Panel(task, fill, height=HEIGHT))
    note = f"{arch}, {transfer} fine-tuning. Bars: standard deviation over seeds. "
    note += f"What lies more than {FAR_BELOW:g} pp below dense leaves its panel."
    keys = [canvas.key(label_of(method), *looks[method], "-", size=4.5) for method in methods]
    keys += [canvas.key("dense, the paper", style.DENSE, line=THEIRS)] if theirs else []
    keys += [canvas.key("dense, ours", style.DENSE, line=OURS)] if mine else []
    keys += whose(bool(theirs), bool(mine))
    return canvas.panels(shown, canvas.TWO_COLUMNS, keys, note)


def _panel(
    axes: Axes, paper: Sequence[Cell], ours: Sequence[Cell], looks: dict[str, tuple[str, str]]
) -> None:
    for cells, hollow in ((paper, True), (ours, False)):
        for cell in cells:
            if cell.model.method == DENSE:
                axes.axhline(cell.mean, color=style.DENSE, linewidth=0.9, zorder=1,
                             linestyle=THEIRS if hollow else OURS)  # fmt: skip
        for method, (colour, marker) in looks.items():
            mine = sorted(
                (cell for cell in cells if cell.model.method == method),
                key=lambda cell: cell.model.sparsity,
            )
            at = [100 * cell.model.sparsity for cell in mine]
            if hollow:
                axes.plot(at, [cell.mean for cell in mine], color=colour, linewidth=0.9, zorder=2)
            for x, cell in zip(at, mine, strict=True):
                draw_mark(axes, x, _bar(cell), colour, marker, hollow=hollow,
                          size=3.5 if hollow else 4.5)  # fmt: skip
    everyone = [*paper, *ours]
    levels = [cell.mean for cell in everyone if cell.model.method == DENSE]
    floor = min(levels, default=max(cell.mean for cell in everyone)) - FAR_BELOW
    ends = [end for cell in everyone if cell.mean >= floor for end in _bar(cell)]
    room = max(0.08 * (max(ends) - min(ends)), 0.3)
    axes.set_ylim(min(ends) - room, max(ends) + room)
    sparse = sorted({100 * c.model.sparsity for c in everyone if c.model.method != DENSE})
    if sparse:
        axes.set_xlim(sparse[0] - 2, sparse[-1] + 2)
        # 89 and 90 would write over each other.
        apart = [s for place, s in enumerate(sparse) if place == 0 or s - sparse[place - 1] > 1.5]
        axes.set_xticks(apart, [f"{value:g}" for value in apart])

    axes.set_xlabel("sparsity (%)")
    axes.set_ylabel("accuracy (%)")


def _bar(cell: Cell) -> Span:
    deviation = cell.std or 0.0
    return cell.mean - deviation, cell.mean, cell.mean + deviation
