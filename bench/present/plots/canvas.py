"""A figure's canvas: made in the suite's style, finished with a legend, saved as PNG and SVG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sparsebench.bench.present import escape
from sparsebench.bench.present.plots import style
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")
LINE_INCHES = 0.15  # a line of the footnote
LEGEND_INCHES = 0.185  # a line of the legend


class NothingToDrawError(NothingMeasuredError):
    """A figure for which the runs hold nothing."""


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw in the suite's style and leave the user's settings as they are."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib as mpl

        settings: Any = style.RC
        with mpl.rc_context(settings):
            return draw(*args, **kwargs)

    return inside


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches on a canvas of its own: pyplot's global state stays untouched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, handles: Sequence[Artist], note: str = "") -> None:
    """Put legend and footnote below the panels, which keep their size: the figure grows.

    Args:
        figure: with its panels.
        handles: of the legend, each with a label.
        note: the footnote, wrapped to the figure's width.
    """
    width, height = (float(inches) for inches in figure.get_size_inches())
    lines = textwrap.wrap(note, int(width / 0.063)) if note else []
    note_height = LINE_INCHES * len(lines) + (0.08 if lines else 0.0)
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    columns = max(1, min(len(handles), int(width / (0.5 + 0.066 * longest))))
    rows = math.ceil(len(handles) / columns)
    below = LEGEND_INCHES * rows + (0.12 if rows else 0.0) + note_height
    total = height + below
    figure.set_size_inches(width, total)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, below / total, 1, 1 - below / total), w_pad=0.08, h_pad=0.06)
    if handles:
        figure.legend(
            handles=list(handles),
            loc="lower center",
            bbox_to_anchor=(0.5, note_height / total),
            ncols=columns,
            handletextpad=0.5,
            columnspacing=1.5,
            borderaxespad=0.2,
        )
    figure.text(
        0.5, 0.5 * note_height / total, "\n".join(lines), fontsize=style.SMALL, color=style.QUIET,
        ha="center", va="center",
    )  # fmt: skip
    _clean(figure)
    figure.draw_without_rendering()  # fixes the layout, on which labels are placed


@styled
def save_figure(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as PNG (300 dpi) and SVG; the same figure gives the same files.

    Returns:
        The files written.

    Raises:
        SparsebenchError: the folder cannot be written.
    """
    _clean(figure)
    written = []
    longest = max(float(inches) for inches in figure.get_size_inches())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, options in (
            ("png", {"dpi": min(style.PNG_DPI, style.MOST_PIXELS / longest)}),
            ("svg", {"metadata": {"Date": None}}),
        ):
            path = folder / f"{stem}.{suffix}"
            figure.savefig(path, format=suffix, **options)
            written.append(path)
    except OSError as error:
        raise SparsebenchError(
            f"The plot cannot be written to {folder}: {error.strerror or error}.",
            "Choose another folder.",
        ) from error
    return written


def _clean(figure: Figure) -> None:
    """Take control characters out of every text: no font has them, and no SVG may hold them."""
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    for text in figure.findobj(Text):
        plain = escape.xml(text.get_text())
        if plain != text.get_text():
            text.set_text(plain)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FixedFormatter):
                formatter.seq = [escape.xml(str(label)) for label in formatter.seq]
