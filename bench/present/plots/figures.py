"""Every figure of runs by its name: what `sparsebench plot --figure NAME` draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots.canvas import TWO_COLUMNS, NothingToDrawError, Page
from sparsebench.bench.present.plots.data import ALL, Selection
from sparsebench.bench.present.plots.saving import DEFAULT_FORMATS, FORMATS, save_figure
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT = "speedup-accuracy"
EVERY = "all"
OTHER_PICTURES = ("bmp", "eps", "gif", "jpeg", "jpg", "ps", "svgz", "tif", "tiff", "webp")
"""Endings that ask for one file, which a folder of that name would not be."""


@dataclass(frozen=True)
class Wish:
    """What is to be drawn.

    Args:
        selection: which cells.
        against: what a speed-up in the main figure is against: "total" or "speedup".
        margin: points below dense up to which an accuracy counts as no worse.
        page: where the figures go: a paper's column or its full width.
        read: a folder's run with its comparisons; of several figures drawn at once, the first
            reads and compares for all.
    """

    selection: Selection = ALL
    against: Literal["total", "speedup"] = "total"
    margin: float = 0.5
    page: Page = TWO_COLUMNS
    read: Callable[[RunFolder], RunData] = RunData.read


@dataclass(frozen=True)
class Drawn:
    """Files of the figures, and why the others are not there."""

    files: tuple[Path, ...]
    missing: tuple[tuple[str, str], ...]


def speedup_accuracy(folders: Sequence[RunFolder], wish: Wish) -> list[Figure]:
    """Speed-up against accuracy change."""
    from sparsebench.bench.present.plots.speedup_accuracy import from_runs

    runs = _checked(folders, wish)
    return from_runs(runs, wish.selection, against=wish.against, margin=wish.margin, page=wish.page)


def stages(folders: Sequence[RunFolder], wish: Wish) -> list[Figure]:
    """Where the time goes, dense beside sparse."""
    from sparsebench.bench.present.plots.stages import draw

    return draw(_checked(folders, wish), wish.selection, wish.page)


def batch_size(folders: Sequence[RunFolder], wish: Wish) -> list[Figure]:
    """Speed-up against batch size, off-grid cliffs marked."""
    from sparsebench.bench.present.plots.scaling import draw_batch_size

    return draw_batch_size(_checked(folders, wish), wish.selection, wish.page)


def threads(folders: Sequence[RunFolder], wish: Wish) -> list[Figure]:
    """Speed-up against threads."""
    from sparsebench.bench.present.plots.scaling import draw_threads

    return draw_threads(_checked(folders, wish), wish.selection, wish.page)


def bound(folders: Sequence[RunFolder], wish: Wish) -> list[Figure]:
    """Measured speed-up against what theory allows."""
    from sparsebench.bench.present.plots.bound import draw

    return draw(_checked(folders, wish), wish.selection, wish.page)


def profile(folders: Sequence[RunFolder], wish: Wish) -> list[Figure]:
    """Performance profile over tasks."""
    from sparsebench.bench.present.plots.profiles import draw

    return draw(_checked(folders, wish), wish.selection, wish.page)


def history(folders: Sequence[RunFolder], wish: Wish) -> list[Figure]:
    """One machine's ratios over several runs, with lasting changes."""
    from sparsebench.bench.comparisons.history import change_points
    from sparsebench.bench.comparisons.history.series import series_of
    from sparsebench.bench.present.plots.history import draw

    _checked(folders, wish)
    if len(folders) < 2:
        raise NothingToDrawError(
            "A history needs several runs of one machine.", "Name them all, in any order."
        )
    found = series_of(folders)
    return draw(found, change_points(found.series), wish.page)


FIGURES = Registry(
    "figure",
    "sparsebench.figures",
    {
        DEFAULT: f"{__name__}:speedup_accuracy",
        "stages": f"{__name__}:stages",
        "batch-size": f"{__name__}:batch_size",
        "threads": f"{__name__}:threads",
        "bound": f"{__name__}:bound",
        "profile": f"{__name__}:profile",
        "history": f"{__name__}:history",
    },
)
"""Name -> a function of run folders and a :class:`Wish` that returns
matplotlib figures: one, or its pages."""


def draw_figures(
    folders: Sequence[RunFolder],
    names: Sequence[str],
    wish: Wish,
    out: Path,
    formats: Sequence[str] = (),
) -> Drawn:
    """Draw figures and write each in every format.

    Args:
        folders: the runs.
        names: of :data:`FIGURES`, or "all".
        wish: what of the runs to show.
        out: folder; for a single figure also a name ending in .png, .svg or .pdf, whose stem is
            used for every format.
        formats: of :data:`sparsebench.bench.present.plots.saving.FORMATS`; by default PNG and
            SVG, and that of `out`.

    Raises:
        UnknownNameError: there is no such figure, workload, task or engine.
        NothingToDrawError: the runs hold nothing for the only figure that was asked for.
        SparsebenchError: a run's file is damaged, `out` ends like another kind of picture, or
            cannot be written.
    """
    for name in names:
        if name != EVERY and name not in FIGURES:
            raise UnknownNameError("figure", name, (*FIGURES, EVERY))
    chosen = list(FIGURES) if EVERY in names else list(dict.fromkeys(names))
    for one in formats:
        if one not in FORMATS:
            raise UnknownNameError("format", one, FORMATS)
    named = out.suffix.removeprefix(".").lower()
    alone = named in FORMATS
    if named in OTHER_PICTURES and not out.is_dir():
        raise SparsebenchError(
            f"'{out}' ends like a picture of a kind that is not written.",
            f"Name it .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}, or name a folder.",
        )
    if not formats:
        formats = (*DEFAULT_FORMATS, *([named] if alone else []))
    if alone and len(chosen) > 1:
        raise SparsebenchError(
            f"{len(chosen)} figures do not fit into one file '{out}'.", "Name a folder as --out."
        )
    wish = replace(wish, read=cache(wish.read))
    files: list[Path] = []
    missing: list[tuple[str, str]] = []
    for name in chosen:
        try:
            figure = FIGURES.load(name)(folders, wish)
        except NothingToDrawError as error:
            if len(chosen) == 1:
                raise
            missing.append((name, str(error)))
            continue
        place, stem = (out.parent, out.stem) if alone else (out, name)
        files += save_figure(figure, place, stem, formats)
    return Drawn(tuple(files), tuple(missing))


def _checked(folders: Sequence[RunFolder], wish: Wish) -> list[RunData]:
    runs = [wish.read(folder) for folder in folders]
    wish.selection.check(runs)
    return runs
