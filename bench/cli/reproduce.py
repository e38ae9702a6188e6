"""``sparsebench reproduce``: the paper's tables and figures, and ours beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import Format, Json, a_place
from sparsebench.bench.cli.say import echo_json
from sparsebench.bench.present import escape
from sparsebench.models.errors import SparsebenchError

EPILOG = """Examples:

  sparsebench reproduce --paper-only

  sparsebench reproduce runs/pets runs/cars --out reproduced/

  sparsebench reproduce runs/pets --json

The paper is "How Well Do Sparse ImageNet Models Transfer?" (CVPR 2022). A run's cell stands beside
one of the paper's if task, method, sparsity and architecture are the same: `linear-cached` and
`linear-online` are its linear, `full` its full fine-tuning.
"""


def reproduce(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders.")] = None,
    paper_only: Annotated[
        bool, typer.Option("--paper-only", help="Only the paper's numbers, without any run.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=a_place, help="Folder for the figures (PNG, SVG), tables.md and CSV files."
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="With --out: count dead filters in this backbone or checkpoint; may be repeated "
            "(default: the runs' or, without any, the shipped ones)."
        ),
    ] = None,
    form: Format = "",
    as_json: Json = False,
) -> None:
    """Set runs beside the paper's numbers: tables, ranking agreement, and its figures redrawn."""
    from sparsebench.bench.decide import RunData
    from sparsebench.bench.paper import reproduce as compared
    from sparsebench.bench.records import RunFolder

    if paper_only == bool(runs):
        raise SparsebenchError(
            "Runs and --paper-only exclude each other." if runs else "No run is named.",
            "Name run folders, or give --paper-only alone.",
        )
    data = [RunData.read(folder) for folder in RunFolder.reading_all(runs or ())]
    found = compared(data)
    written: list[Path] = []
    missing: list[str] = []
    if out is not None:
        from sparsebench.bench.paper.output import write_all

        written, missing = write_all(found, data, out, backbone or [])
    if as_json:
        files = [str(path) for path in written]
        echo_json({**found.to_json(), "files": files, "not_drawn": missing})
        return
    from rich.text import Text

    from sparsebench.bench.cli.console import show
    from sparsebench.bench.paper.tables import sentences, tables

    said = [Text(f"\n{escape.lines(chr(10).join(sentences(found)))}")]
    said += [Text(str(path), no_wrap=True) for path in written]
    said += [Text(f"not drawn: {reason}", no_wrap=True) for reason in missing]
    said += [Text("Figures and all tables: add --out DIR.")] if out is None else []
    show([*tables(found, wide=form not in ("", "terminal")), *said], form)
