"""What ``sparsebench run --dry-run`` prints."""

from __future__ import annotations

from itertools import groupby

from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.bench.plan.plan import Plan


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
                "cell": one.cell.id,
                "backbone": one.cell.backbone,
                "engine": one.cell.engine,
                "precision": one.cell.precision,
                "workload": one.cell.workload,
                "task": one.cell.task,
                "seconds": one.prediction.seconds,
                "seconds_all_blocks": one.prediction.whole,
                "basis": one.prediction.basis,
            }
            for one in found.cells
        ]
        echo_json({"seconds": found.seconds, "doubled": found.grown, "cells": cells}, None)
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from sparsebench.bench.cli.console import new_console
    from sparsebench.bench.present import escape
    from sparsebench.bench.tasks.naming import distinct_names

    names = distinct_names(plan.tasks, plan.data_dir or None)
    console = new_console()
    for task, planned in groupby(found.cells, key=lambda one: one.cell.task):
        console.print(Text(escape.visible(f"on {names[task]}"), style="bold"))
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("workload", no_wrap=True)
        table.add_column("cell", overflow="fold")
        for name in ("one", "all blocks"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("basis", no_wrap=True)
        for one in planned:
            cell, prediction = one.cell, one.prediction
            table.add_row(
                cell.workload,
                escape.visible(f"{cell.backbone} on {cell.engine_label}"),
                duration(prediction.seconds),
                duration(prediction.whole),
                prediction.basis,
            )
        console.print(table)
    grown = ", ".join(f"{name} {duration(value)}" for name, value in found.grown.items())
    console.print(
        f"{len(found.cells)} cells, about {duration(found.seconds)} in all. "
        f"With twice as many: {grown}.\n"
        f"Rates of {found.measured} cells were measured on this machine; 'scaled' ones come from "
        "another backbone by FLOPs, or from another task, solver or size; 'guessed' ones from "
        "nothing but FLOPs: expect those to be "
        "wrong by a factor of two or three. A first run measures them. Nothing was run."
    )


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{minutes:.3g} min" if minutes < 100 else f"{minutes / 60:.3g} h"
