"""A picture of the series of one machine with their change points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.history.changepoints import ChangePoint
from bench.history.series import History, Series
from models.errors import SparsebenchError

WIDTH, HEIGHT = 9.0, 1.7
NAME = "history"


def save_history(history: History, points: Sequence[ChangePoint], folder: Path) -> list[Path]:
    """Write history.png and history.svg: a small panel a series, a line at each change.

    Raises:
        SparsebenchError: the folder cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    count = len(history.series)
    figure, axes = pyplot.subplots(
        count, 1, figsize=(WIDTH, HEIGHT * count + 0.5), squeeze=False, layout="constrained"
    )
    for axis, series in zip(axes[:, 0], history.series, strict=True):
        _panel(axis, series, [point for point in points if point.name == series.name])
    axes[-1, 0].set_xlabel("run, oldest first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{NAME}{suffix}" for suffix in (".png", ".svg")]
        for path in paths:
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise SparsebenchError(f"{folder} cannot be written ({error.strerror}).") from error
    finally:
        pyplot.close(figure)
    return paths


def _panel(axis: object, series: Series, points: Sequence[ChangePoint]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    places = range(len(series.ratios))
    errors: list[list[float]] = [[], []]
    for ratio, interval in zip(series.ratios, series.intervals, strict=True):
        low, high = interval or (ratio, ratio)
        errors[0].append(ratio - low)
        errors[1].append(high - ratio)
    axis.errorbar(places, series.ratios, yerr=errors, fmt="o-", ms=3, lw=1, elinewidth=0.7)
    for point in points:
        here = series.runs.index(point.run)
        colour = "tab:red" if point.change < 0 else "tab:green"
        axis.axvline(here - 0.5, color=colour, lw=1)
        axis.annotate(
            f"{point.change:+.0%}", (here - 0.5, 1), xycoords=("data", "axes fraction"),
            textcoords="offset points", xytext=(3, -9), color=colour, fontsize=8,
        )  # fmt: skip
    axis.set_title(series.name, fontsize=8, loc="left")
    axis.set_ylabel(
        "speed-up" if series.kind == "speedup" else "against\nother engines", fontsize=7
    )
    axis.tick_params(labelsize=7)
