"""Mean relative error increase per method and sparsity, linear and full: the paper's and ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparsebench.bench.paper.reproduction import ErrorRow
from sparsebench.bench.paper.transfer_cells import TRANSFERS, label_of
from sparsebench.bench.present.plots import canvas, style
from sparsebench.bench.present.plots.marks import draw_mark, span
from sparsebench.models.names import format_percent

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINEAR_UP_TO = 30.0
"""Per cent; beyond it the axis is logarithmic, so that a collapse leaves the others apart."""
TICKS = (-100, -30, -20, -10, 0, 10, 20, 30, 100, 300, 1000)
HEIGHT = 2.3
SPREAD = 0.78  # of a group of methods, in units of the axis
SIDE = 0.26  # ours beside the paper's, as a share of a method's place


@style.styled
def draw(rows: Sequence[ErrorRow], arch: str) -> list[Figure]:
    """Two panels, linear above full; hollow the paper's, filled ours.

    Args:
        rows: of `sparsebench.bench.paper.Reproduction.errors`.
        arch: which architecture.

    Raises:
        NothingToDrawError: no row is of this architecture.
    """
    mine = [row for row in rows if row.model.arch == arch]
    transfers = [t for t in TRANSFERS if any(row.transfer == t for row in mine)]
    if not transfers:
        raise canvas.NothingToDrawError(
            f"There is no relative error increase of {arch}.",
            "Measure a sparse network of it and its dense baseline.",
        )
    methods = list(dict.fromkeys(row.model.method for row in mine))
    looks = style.method_looks(methods)
    shown = [
        canvas.Panel(f"{arch}, {transfer} fine-tuning",
              partial(_panel, rows=[row for row in mine if row.transfer == transfer], looks=looks),
              height=HEIGHT)
        for transfer in transfers
    ]  # fmt: skip
    tasks = sorted({len(row.ours.tasks) for row in mine if row.ours})
    note = "Whiskers: 95% confidence intervals over tasks. Below 0: fewer errors than dense. "
    note += f"Logarithmic beyond \N{PLUS-MINUS SIGN}{LINEAR_UP_TO:g}%."
    if tasks:
        note += f" Ours over {' to '.join(map(str, sorted({tasks[0], tasks[-1]})))} tasks."
    if any(row.paper for row in mine):
        note += " The paper's over 12."
    keys = [canvas.key(label_of(method), *looks[method]) for method in methods]
    keys += whose(any(row.paper for row in mine), any(row.ours for row in mine))
    return canvas.panels(shown, canvas.TWO_COLUMNS, keys, note, most=1)


def _panel(axes: Axes, rows: Sequence[ErrorRow], looks: dict[str, tuple[str, str]]) -> None:
    from matplotlib.ticker import NullLocator

    sparsities = sorted({row.model.sparsity for row in rows})
    methods = list(looks)
    step = SPREAD / len(methods)
    axes.axhline(0, color=style.DENSE, linewidth=0.9, zorder=1)
    both = any(row.paper for row in rows) and any(row.ours for row in rows)
    ends = [0.0]
    for row in rows:
        centre = sparsities.index(row.model.sparsity) + step * (
            methods.index(row.model.method) - (len(methods) - 1) / 2
        )
        shift = SIDE * step if both else 0.0
        for found, x, hollow in ((row.paper, centre - shift, True),
                                 (row.ours, centre + shift, False)):  # fmt: skip
            if found is not None:
                value = span(found.value.mid, found.value.ci95)
                draw_mark(axes, x, value, *looks[row.model.method], hollow=hollow)
                ends += value
    for place in range(1, len(sparsities)):
        axes.axvline(place - 0.5, color=style.GUIDE, linewidth=0.6, zorder=0)
    axes.set_xticks(range(len(sparsities)), [f"{format_percent(s)}%" for s in sparsities])
    axes.set_xlim(-0.5, len(sparsities) - 0.5)
    low, high = 1.15 * min(ends) - 2, 1.15 * max(ends) + 2
    if max(-low, high) > 2 * LINEAR_UP_TO:
        axes.set_yscale("symlog", linthresh=LINEAR_UP_TO, linscale=1.5)
        axes.set_yticks([tick for tick in TICKS if low <= tick <= high])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)
    axes.set_xlabel("sparsity")
    axes.set_ylabel("mean relative error\nincrease (%)")


def whose(paper: bool, ours: bool) -> list[Artist]:
    """Legend entries that tell the paper's hollow marks from our filled ones."""
    entries = [(True, "hollow: the paper")] if paper else []
    entries += [(False, "filled: ours")] if ours else []
    return [canvas.key(name, marker="o", hollow=hollow) for hollow, name in entries]
