"""What ``sparsebench run --dry-run`` prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from sparsebench.bench.cli.say import duration, echo, echo_json
from sparsebench.bench.plan.plan import Plan
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import typed_here

if TYPE_CHECKING:
    from sparsebench.bench.forecast import Forecast


def print_forecast(plan: Plan, *, as_json: bool) -> None:
    """Print the cells of a plan with the time that each will take; measure nothing.

    Raises:
        SparsebenchError: something of the plan cannot run on this machine; all of it is said.
    """
    from sparsebench.bench.comparisons.busy import busy_now
    from sparsebench.bench.forecast import forecast
    from sparsebench.bench.forecast.predict import UNKNOWN
    from sparsebench.bench.plan.cells import swept
    from sparsebench.bench.plan.downsized import downsized
    from sparsebench.bench.plan.obstacles import obstacles, photos_instead
    from sparsebench.bench.plan.optional_engines import left_out

    busy = busy_now()
    photos = photos_instead(plan)
    plan, smaller = downsized(plan, lambda text: echo(text, err=True), fetch=False)
    for text in filter(None, (*left_out(plan), busy, photos, smaller)):
        echo(f"Note: {text}", err=True)
    found = forecast(plan, say=lambda text: echo(text, err=True))
    stand = obstacles(plan, [cell for cell, _ in found.cells])
    if as_json:
        cells = [
            {
                "cell": cell.id,
                "backbone": cell.backbone,
                "engine": cell.engine,
                "precision": cell.precision,
                "workload": cell.workload,
                "task": cell.task,
                "seconds": time.seconds,
                "seconds_all_blocks": time.whole,
                "basis": time.basis,
            }
            for cell, time in found.cells
        ]
        echo_json(
            {
                "seconds": found.seconds,
                "unknown": found.unknown,
                "cells": cells,
                "refused": list(stand.refused),
                "fetched": list(stand.fetched),
            },
            None,
        )
        _refuse(stand.refused)
        return
    from rich.text import Text

    from sparsebench.bench.cli.console import show
    from sparsebench.bench.present.table import Table
    from sparsebench.bench.tasks.naming import distinct_names

    names = distinct_names(plan.tasks, plan.data_dir or None)
    any_known = found.seconds is not None  # three columns of nothing would hide the cells
    tables = [
        Table.of(
            f"on {names[task]}",
            ("cell", "workload", *(("one trial", "all blocks", "basis") if any_known else ())),
            [
                (f"{cell.backbone} on {cell.engine_label}{swept(plan, cell)}", cell.workload,
                 *(() if not any_known
                   else (duration(time.seconds), duration(time.whole), time.basis)
                   if time.basis != UNKNOWN else ("", "", "not measured before")))
                for cell, time in planned
            ],
            words=2,
        ).filled()
        for task, planned in groupby(found.cells, key=lambda pair: pair[0].task)
    ]  # fmt: skip
    count = len(found.cells)
    many = "1 cell" if count == 1 else f"{count} cells"
    told = Text(f"{many}. {_in_all(found)} Nothing was run.")
    # A path that is broken in two cannot be copied.
    fetched = [f"Before it measures, the run fetches {text}." for text in stand.fetched]
    show([*tables, told, *(Text(line, no_wrap=os.sep in line) for line in fetched)])
    _refuse(stand.refused)


def _refuse(texts: Sequence[str]) -> None:
    for text in texts:
        echo(f"Cannot run: {typed_here(text)}", err=True)
    if texts:
        raise SparsebenchError(
            "This plan cannot run here as it is.",
            "Put that right, or leave it out; without --dry-run its cells would fail, and the "
            "others be measured.",
        )


def _in_all(found: Forecast) -> str:
    if found.seconds is None:
        return "How long they take is unknown: none was measured on this machine before."
    known = len(found.cells) - found.unknown
    rest = f"; {found.unknown} were not, and come on top" if found.unknown else ""
    return (
        f"About {duration(found.seconds)} for the {known} that were measured on this machine "
        f"before{rest}. 'scaled': measured with other counts of images, epochs or seeds."
    )
