"""Where the time goes: the stages of a trial stacked, dense beside sparse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from sparsebench.bench.comparisons.accuracy_change import accuracy_of
from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots import canvas, data, style
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.records import Estimate, Record
from sparsebench.models.cpus import threads_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHER = "other"
SMALL_SHARE = 0.01
BAR_INCHES = 0.165
FRAME_INCHES = 0.25  # what is neither a name nor its bar


@dataclass(frozen=True)
class Bar:
    """One cell.

    Args:
        panel: workload and task.
        engine: with device and precision, and with its architecture where there are several.
        label: the backbone and its accuracy.
        sparsity: 0-1; 0 for dense.
        stages: stage -> seconds, the mean over the trials; they sum to the trial's time.
        speedup: over its dense baseline; None for dense.
    """

    panel: str
    engine: str
    label: str
    sparsity: float
    stages: Mapping[str, float]
    speedup: Estimate | None = None

    @property
    def total(self) -> float:
        """Seconds end to end."""
        return sum(self.stages.values())


@style.styled
def draw(
    runs: Sequence[RunData],
    selection: data.Selection = data.ALL,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """One panel a workload and task, one group of bars an engine, dense first.

    Raises:
        NothingToDrawError: no cell with stages and an accuracy.
    """
    left_out = data.LeftOut()
    bars = _bars(runs, selection, left_out)
    if not bars:
        raise canvas.NothingToDrawError(
            f"No cell has stages to draw. {left_out}".strip(),
            "Training workloads have them: `sparsebench run PLAN --workload linear-cached`.",
        )
    grouped: dict[str, dict[str, list[Bar]]] = {}
    for bar in bars:
        grouped.setdefault(bar.panel, {}).setdefault(bar.engine, []).append(bar)
    small = _small(bars)
    names = {OTHER if name in small else name for bar in bars for name in bar.stages}
    colours = style.stage_colours(names)
    width = page.width - FRAME_INCHES - max(_inches(bar.label, style.LABEL) for bar in bars)
    fill = partial(_panel, colours=colours, small=small, width=width)
    shown = [
        canvas.Panel(title, partial(fill, engines=engines), title.partition(" ")[0],
                     height=BAR_INCHES * sum(len(g) + 1.2 for g in engines.values()) + 0.55)
        for title, engines in sorted(grouped.items(), key=lambda item: item[0].partition(" ")[0])
    ]  # fmt: skip
    from matplotlib.patches import Patch

    note = data.caption(
        record
        for run in runs
        for record in run.records
        if selection.holds(record) and any(trial.stages for trial in record.trials)
    )
    note += " Behind a name: accuracy. Behind a bar: seconds, and the speed-up over dense on the "
    note += "same engine with its 95% confidence interval. "
    if named := ", ".join(sorted(small - {OTHER})):
        note += f"Below {SMALL_SHARE:.0%} of every bar, so in other: {named}. "
    keys = [Patch(color=colour, label=name) for name, colour in colours.items()]
    return canvas.panels(shown, page, keys, note + str(left_out), most=1)


def _bars(runs: Sequence[RunData], selection: data.Selection, left_out: data.LeftOut) -> list[Bar]:
    bars = []
    several = len(runs) > 1
    archs = {record.backbone.arch for run in runs for record in run.records}
    for run in runs:
        speedups = {comparison.sparse: comparison.speedup for comparison in run.comparisons}
        for record in run.records:
            timed = [trial.stages for trial in record.trials if trial.stages]
            if record.status != "ok" or not timed or not selection.holds(record):
                continue
            known = accuracy_of(record, run.records)
            if not record.backbone.trained:
                left_out.add("with generated weights (speed only)")
            elif known is None:
                left_out.add("without an accuracy")
            else:
                arch = f", {record.backbone.arch}" if len(archs) > 1 else ""
                settings = (
                    f", {threads_text(record.engine.threads)}" if _varies(run, record) else ""
                )
                bars.append(
                    Bar(
                        f"{record.workload} on {record.task.name}"
                        + (f", {run.name}" if several else ""),
                        data.engine_label(record) + arch + settings,
                        f"{data.variant(record)}  {known[0].mean:.1%}",
                        record.backbone.zeros,
                        {name: fmean(s.get(name, 0.0) for s in timed) for name in timed[0]},
                        speedups.get(record.id),
                    )
                )
    return sorted(bars, key=lambda bar: bar.sparsity)


def _varies(run: RunData, record: Record) -> bool:
    return len({r.engine.threads for r in run.records if r.workload == record.workload}) > 1


def _small(bars: Sequence[Bar]) -> set[str]:
    """Stages that are next to nothing in every bar; they are drawn as one."""
    names = {name for bar in bars for name in bar.stages}
    return {
        name
        for name in names
        if all(bar.stages.get(name, 0.0) < SMALL_SHARE * bar.total for bar in bars)
    }


def _panel(
    axes: Axes,
    engines: Mapping[str, Sequence[Bar]],
    colours: Mapping[str, str],
    small: set[str],
    width: float,
) -> None:
    """One workload's bars in so many inches, as long as the words behind each allow."""
    place = 0.0
    ticks, labels = [], []
    gap = 0.06
    end = max(
        bar.total / max(0.15, 1 - (gap + _inches(_words(bar), style.SMALL)) / width)
        for group in engines.values()
        for bar in group
    )
    for engine, group in engines.items():
        axes.text(
            0.0, place - 0.15, f"{engine}", fontsize=style.SMALL, fontweight="bold",
            va="center", color="#333333", transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        for bar in group:
            place += 1.0
            _one(axes, bar, place, colours, small)
            axes.text(bar.total + end * gap / width, place, _words(bar), va="center",
                      fontsize=style.SMALL)  # fmt: skip
            ticks.append(place)
            labels.append(bar.label)
        place += 1.2
    axes.set_yticks(ticks, labels)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(place - 0.4, -0.6)
    axes.set_xlim(0, end)
    axes.set_xlabel("mean seconds, end to end")


def _words(bar: Bar) -> str:
    text = f"{numbers.significant(bar.total)} s"
    if bar.speedup is not None:
        text += "   {} ({})".format(*numbers.ratio(bar.speedup))
    return text


def _inches(text: str, size: float) -> float:
    """As far as the text goes; the outlines of its letters would take a hundred times as long."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _one(axes: Axes, bar: Bar, place: float, colours: Mapping[str, str], small: set[str]) -> None:
    merged: dict[str, float] = {}
    for name, seconds in bar.stages.items():
        key = OTHER if name in small else name
        merged[key] = merged.get(key, 0.0) + seconds
    start = 0.0
    for name, colour in colours.items():
        seconds = merged.get(name, 0.0)
        axes.barh(
            place, seconds, left=start, height=0.78, color=colour, edgecolor="white", linewidth=0.4
        )
        start += seconds
