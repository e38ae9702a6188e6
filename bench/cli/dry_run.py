"""What ``sparsebench run --dry-run`` prints."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.bench.plan.plan import Plan

if TYPE_CHECKING:
    from sparsebench.bench.forecast import Forecast


def print_forecast(plan: Plan, *, as_json: bool) -> None:
    """Print the cells of a plan with the time that each will take; measure nothing."""
    from sparsebench.bench.forecast import forecast
    from sparsebench.bench.plan.optional_engines import left_out

    for text in left_out(plan):
        echo(f"Note: {text}", err=True)
    found = forecast(plan, say=lambda text: echo(text, err=True))
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
        echo_json({"seconds": found.seconds, "unknown": found.unknown, "cells": cells}, None)
        return
    from sparsebench.bench.cli.console import show
    from sparsebench.bench.present.table import Table
    from sparsebench.bench.tasks.naming import distinct_names

    names = distinct_names(plan.tasks, plan.data_dir or None)
    tables = [
        Table.of(
            f"on {names[task]}",
            ("cell", "workload", "one", "all blocks", "basis"),
            [
                (f"{cell.backbone} on {cell.engine_label}", cell.workload, duration(time.seconds),
                 duration(time.whole), time.basis)
                for cell, time in planned
            ],
            words=2,
        )
        for task, planned in groupby(found.cells, key=lambda pair: pair[0].task)
    ]  # fmt: skip
    show([*tables, f"{len(found.cells)} cells. {_in_all(found)} Nothing was run."])


def _in_all(found: Forecast) -> str:
    if found.seconds is None:
        return "How long they take is unknown: none was measured on this machine before."
    known = len(found.cells) - found.unknown
    rest = f"; {found.unknown} were not, and come on top" if found.unknown else ""
    return (
        f"About {duration(found.seconds)} for the {known} that were measured on this machine "
        f"before{rest}. 'scaled': measured with other counts of images, epochs or seeds."
    )


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.3g} min" if minutes < 100 else f"{minutes / 60:.3g} h"
