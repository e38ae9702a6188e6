"""``sparsebench compare``: two runs side by side, or two cells of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import Format, Json
from sparsebench.bench.cli.say import echo_json

EPILOG = """Examples:

  sparsebench compare runs/monday runs/tuesday

  sparsebench compare runs/laptop runs/server --across-machines

  sparsebench compare resnet18/gmp-90 resnet18/acdc-90 --run runs/monday
"""


def compare(
    a: Annotated[str, typer.Argument(help="A run's folder; with --run, a backbone or record id.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    run: Annotated[
        Path | None, typer.Option(help="Run folder that holds both A and B, for two of its cells.")
    ] = None,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare speed-ups of different machines.")
    ] = False,
    form: Format = "",
    as_json: Json = False,
) -> None:
    """Compare the speed-ups of two runs, or the times of two backbones of one run."""
    from sparsebench.bench.comparisons import compare_folders, compare_within
    from sparsebench.bench.records import RunFolder

    if run is not None:
        result = compare_within(RunFolder.reading(run), a, b)
    else:
        left, right = RunFolder.reading(a), RunFolder.reading(b)
        result = compare_folders(left, right, across_machines=across_machines)
    if as_json:
        echo_json(result.to_json())
        return
    from sparsebench.bench.cli.console import show
    from sparsebench.bench.present.tables import compared_table

    show([compared_table(result)], form)
