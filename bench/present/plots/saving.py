"""A figure's files: the suite's style, clean texts, the same bytes for the same figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsebench.bench.present import escape
from sparsebench.bench.present.plots import style
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.text import Text

FORMATS = ("png", "svg", "pdf")
DEFAULT_FORMATS = ("png", "svg")


@style.styled
def save_figure(
    figures: Figure | Sequence[Figure],
    folder: Path,
    stem: str,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> list[Path]:
    """Write a figure, PNG with 300 dpi; the same figure gives the same files.

    Args:
        figures: one, or its pages: the second is `STEM-2`, and so on.
        folder: made where it is not there.
        stem: of the files' names.
        formats: of :data:`FORMATS`.

    Returns:
        The files written.

    Raises:
        SparsebenchError: the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, figure in enumerate(figures if isinstance(figures, Sequence) else [figures], 1):
            clean(figure)
            longest = max(float(inches) for inches in figure.get_size_inches())
            options: dict[str, Any] = {
                "png": {"dpi": min(style.PNG_DPI, style.MOST_PIXELS / longest)},
                "svg": {"metadata": {"Date": None}},
                "pdf": {"metadata": {"CreationDate": None}},
            }
            for suffix in dict.fromkeys(formats):
                path = folder / f"{stem}{f'-{number}' if number > 1 else ''}.{suffix}"
                figure.savefig(path, format=suffix, **options[suffix])
                written.append(path)
    except OSError as error:
        raise SparsebenchError(
            f"The plot cannot be written to {folder}: {error.strerror or error}.",
            "Choose another folder.",
        ) from error
    return written


def clean(figure: Figure) -> None:
    """Take control characters out of every text: no font has them, and no SVG may hold them."""
    from matplotlib.ticker import FixedFormatter

    for text in _texts(figure):
        plain = escape.xml(text.get_text())
        if plain != text.get_text():
            text.set_text(plain)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FixedFormatter):
                formatter.seq = [escape.xml(str(label)) for label in formatter.seq]


def _texts(artist: Artist) -> Iterator[Text]:
    """Every text below an artist but the labels of ticks, which their formatter writes."""
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    if isinstance(artist, Text):
        yield artist
    elif isinstance(artist, Axis):
        yield artist.label
    else:
        for child in artist.get_children():
            yield from _texts(child)
