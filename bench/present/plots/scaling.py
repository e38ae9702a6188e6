"""Speed-up against a setting of the engine: batch size (with off-grid cliffs) or threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots import canvas, data, style
from sparsebench.bench.present.plots.marks import draw_mark, span
from sparsebench.bench.records import Estimate, Record
from sparsebench.models.cpus import threads_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Setting = Literal["batch_size", "threads"]
AXIS = {"batch_size": "batch size (as measured, not to scale)", "threads": "threads"}
OPTION = {"batch_size": "--batch-size", "threads": "--threads"}
LEAST_SPAN = (0.8, 1.25)
"""What the axis of speed-ups shows at least: noise around 1 must not look like an effect."""
CLIFF = 0.9
"""A point below this share of its neighbours on the grid stands on a cliff."""


@dataclass(frozen=True)
class Series:
    """One sparse backbone on one engine over a setting.

    Args:
        panel: workload, task and what else is fixed.
        method: of the backbone.
        label: backbone and its accuracy change.
        points: setting -> speed-up, by rising setting.
    """

    panel: str
    method: str
    label: str
    points: tuple[tuple[int, Estimate], ...]


@dataclass(frozen=True)
class Cliff:
    """A batch size off the engine's grid at which a speed-up breaks in.

    Args:
        batch_size: the one.
        speedup: there.
        neighbour: the nearest size on the grid (a power of two) that was measured.
        share: of the lower neighbour's speed-up that is left.
    """

    batch_size: int
    speedup: float
    neighbour: int
    share: float


def draw_batch_size(
    runs: Sequence[RunData],
    selection: data.Selection = data.ALL,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """Speed-up over dense, same engine and batch size, against batch size.

    Of a cell that several runs measured, the run named last counts.

    Raises:
        NothingToDrawError: no backbone was measured at two batch sizes.
    """
    return _draw(runs, selection, page, "batch_size")


def draw_threads(
    runs: Sequence[RunData],
    selection: data.Selection = data.ALL,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """Speed-up over dense, same engine and threads, against threads.

    Raises:
        NothingToDrawError: no backbone was measured with two numbers of threads.
    """
    return _draw(runs, selection, page, "threads")


def cliffs(points: Sequence[tuple[int, Estimate]]) -> list[Cliff]:
    """Batch sizes off the grid of powers of two whose speed-up breaks in.

    That is where it lies below 90 % of the lower of the speed-ups at the next smaller and the
    next larger power of two that were measured, and the intervals, where there are any, are
    apart.
    """
    grid = [(size, estimate) for size, estimate in points if _on_grid(size)]
    found = []
    for size, estimate in points:
        if _on_grid(size):
            continue
        around = [
            *[one for one in grid if one[0] < size][-1:],
            *[one for one in grid if one[0] > size][:1],
        ]
        if not around:
            continue
        _, lower = min(around, key=lambda one: one[1].median)
        nearest = min(around, key=lambda one: abs(one[0] - size))[0]
        apart = not (estimate.ci95 and lower.ci95) or estimate.ci95[1] < lower.ci95[0]
        if estimate.median < CLIFF * lower.median and apart:
            share = estimate.median / lower.median
            found.append(Cliff(size, estimate.median, nearest, share))
    return found


def _on_grid(size: int) -> bool:
    return size & (size - 1) == 0


@style.styled
def _draw(
    runs: Sequence[RunData], selection: data.Selection, page: canvas.Page, setting: Setting
) -> list[Figure]:
    data.same_machine(runs)
    left_out = data.LeftOut()
    series = _series(runs, selection, setting, left_out)
    if not series:
        word = "batch sizes" if setting == "batch_size" else "numbers of threads"
        raise canvas.NothingToDrawError(
            f"No sparse backbone was measured at two {word}. {left_out}".strip(),
            f"Give `run` the option once for each ({OPTION[setting]} 1 {OPTION[setting]} 2), or "
            "name several runs here.",
        )
    grouped: dict[str, list[Series]] = {}
    for one in series:
        grouped.setdefault(one.panel, []).append(one)
    looks = _looks(series, list(dict.fromkeys(one.label for one in series)))
    note = data.caption(r for run in runs for r in run.records if selection.holds(r))
    note += " Whiskers: 95% confidence intervals. In brackets: accuracy change."
    if setting == "batch_size" and any(not _on_grid(n) for one in series for n, _ in one.points):
        note += f" Hollow: off the grid of powers of two; ringed, with its share: below {CLIFF:.0%}"
        note += " of it."
    shown = [
        canvas.Panel(title, partial(_panel, series=inside, looks=looks, setting=setting),
              title.partition(" ")[0])
        for title, inside in grouped.items()
    ]  # fmt: skip
    keys = [canvas.key(label, colour, marker, "-") for label, (colour, marker) in looks.items()]
    return canvas.panels(shown, page, keys, f"{note} {left_out}".strip(), most=2)


def _series(
    runs: Sequence[RunData],
    selection: data.Selection,
    setting: Setting,
    left_out: data.LeftOut,
) -> list[Series]:
    other: Callable[[Record], str] = (
        (lambda record: threads_text(record.engine.threads))
        if setting == "batch_size"
        else (lambda record: f"batch {record.engine.batch_size}")
    )
    found: dict[tuple[str, str, str], dict[int, tuple[Estimate, float]]] = {}
    methods: dict[tuple[str, str, str], str] = {}
    for run in runs:
        for comparison, record in data.complete(run, selection, left_out):
            assert comparison.speedup is not None and comparison.accuracy_delta is not None
            settings = f"{data.engine_label(record)}, {other(record)}"
            panel = f"{record.workload} on {record.task.name}\n{settings}"
            key = (panel, record.backbone.arch, data.variant(record))
            value = getattr(record.engine, setting)
            found.setdefault(key, {})[value] = (
                comparison.speedup,
                comparison.accuracy_delta.mean,
            )
            methods[key] = record.backbone.method
    several = len({arch for _, arch, _ in found}) > 1
    return [
        Series(
            panel,
            methods[panel, arch, name],
            f"{arch + ' ' if several else ''}{name} ({_changes(by_setting.values())})",
            tuple((value, by_setting[value][0]) for value in sorted(by_setting)),
        )
        for (panel, arch, name), by_setting in found.items()
        if len(by_setting) > 1
    ]


def _changes(cells: object) -> str:
    assert hasattr(cells, "__iter__")
    changes = [change for _, change in cells]
    low, high = min(changes), max(changes)
    if f"{low:.1f}" == f"{high:.1f}":
        return data.change_words(low)
    return f"{data.change_words(low).split()[0]} to {data.change_words(high)}"


def _looks(series: Sequence[Series], labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Label -> colour of the method and a marker of its own."""
    colours = style.method_colours(one.method for one in series)
    methods = {one.label: one.method for one in series}
    return {
        label: (colours[methods[label]], style.MARKERS[place % len(style.MARKERS)])
        for place, label in enumerate(labels)
    }


def _panel(
    axes: Axes, series: Sequence[Series], looks: dict[str, tuple[str, str]], setting: Setting
) -> None:
    values = sorted({value for one in series for value, _ in one.points})
    place = {value: number for number, value in enumerate(values)}
    axes.axhline(1, color=style.GUIDE, linewidth=0.8, zorder=0)
    for one in series:
        colour, marker = looks[one.label]
        axes.plot(
            [place[value] for value, _ in one.points], [e.median for _, e in one.points],
            color=colour, linewidth=1.2, zorder=2,
        )  # fmt: skip
        for value, estimate in one.points:
            hollow = setting == "batch_size" and not _on_grid(value)
            draw_mark(axes, place[value], span(estimate.median, estimate.ci95), colour, marker,
                      hollow=hollow)  # fmt: skip
        for cliff in cliffs(one.points) if setting == "batch_size" else ():
            axes.plot(
                [place[cliff.batch_size]], [cliff.speedup], marker="o", markersize=12,
                markerfacecolor="none", markeredgecolor=style.DENSE, linestyle="", zorder=4,
            )  # fmt: skip
            axes.annotate(
                f"{cliff.share:.0%}",
                (place[cliff.batch_size], cliff.speedup), xytext=(0, -9),
                textcoords="offset points", ha="center", va="top", fontsize=style.SMALL,
            )  # fmt: skip
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.set_xlim(-0.4, len(values) - 0.6)
    bottom, top = axes.get_ylim()
    room = 0.1 * (top - bottom)
    least, most = LEAST_SPAN
    axes.set_ylim(max(0.0, min(least, bottom - room)), max(most, top + room / 2))
    axes.set_xlabel(AXIS[setting])
    axes.set_ylabel("speed-up vs dense, same engine")
