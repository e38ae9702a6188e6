"""Time per epoch against accuracy, of step-by-step training."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from sparsebench.bench.comparisons.training import epoch_seconds
from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots import canvas, data, style
from sparsebench.bench.present.plots.marks import Mark, draw_mark, label_marks, span
from sparsebench.bench.records import Record
from sparsebench.bench.statistics import geometric_interval
from sparsebench.bench.tasks.kinds import word_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Looks = dict[str, tuple[str, str]]


@style.styled
def draw(
    runs: Sequence[RunData],
    selection: data.Selection = data.ALL,
    page: canvas.Page = canvas.TWO_COLUMNS,
) -> list[Figure]:
    """One panel a workload, task and engine; to the left is faster, up is better.

    Raises:
        NothingToDrawError: nothing was trained step by step.
    """
    left_out = data.LeftOut()
    found: dict[tuple[str, str], list[Record]] = {}
    several = len({one.machine.get("fingerprint") for run in runs for one in run.records}) > 1
    for run in runs:
        for record in run.records:
            if not selection.holds(record) or not epoch_seconds(record):
                continue
            if not record.backbone.trained or record.accuracy is None:
                left_out.add("with generated weights or without an accuracy")
                continue
            title = f"{record.workload} on {record.task.name}\n{data.engine_label(record)}"
            title += f", {run.name}" if several else ""
            found.setdefault((record.workload, title), []).append(record)
    if not found:
        raise canvas.NothingToDrawError(
            f"Nothing was trained epoch by epoch. {left_out}".strip(),
            "`sparsebench run finetune` does: workloads linear-online and full.",
        )
    records = [record for inside in found.values() for record in inside]
    looks = style.method_looks(r.backbone.method for r in records if not r.backbone.is_dense)
    keys = [canvas.key(method, colour, marker) for method, (colour, marker) in looks.items()]
    keys.append(canvas.key("dense baseline", style.DENSE, "o", hollow=True))
    shown = [
        canvas.Panel(title, partial(_panel, records=inside, looks=looks), workload,
              label=partial(_labels, records=inside, looks=looks))
        for (workload, title), inside in found.items()
    ]  # fmt: skip
    note = f"{data.caption(records)} Whiskers: 95% confidence intervals over seeds. {left_out}"
    return canvas.panels(shown, page, keys, note.strip())


def _panel(axes: Axes, *, records: Sequence[Record], looks: Looks) -> None:
    for record in records:
        backbone, mark = record.backbone, _mark(record, looks)
        colour, marker = looks.get(backbone.method, (style.DENSE, "o"))
        draw_mark(axes, mark.x, mark.y, colour, marker, hollow=backbone.is_dense)
    axes.margins(0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds per epoch")
    word = word_of(record.task.metric for record in records)
    axes.set_ylabel(f"test {word} (%)")


def _labels(axes: Axes, *, records: Sequence[Record], looks: Looks) -> None:
    label_marks(axes, [_mark(record, looks) for record in records])


def _mark(record: Record, looks: Looks) -> Mark:
    assert record.accuracy is not None
    seconds = geometric_interval(epoch_seconds(record))
    return Mark(
        span(seconds.mid, seconds.ci95),
        span(record.accuracy.mean, record.accuracy.ci95, 100),
        data.variant(record),
        looks.get(record.backbone.method, (style.DENSE, ""))[0],
    )
