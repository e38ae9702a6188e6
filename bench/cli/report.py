"""``sparsebench report``: one page of one or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import STANDARD_OUTPUT, Json, certainty, one_text, write
from sparsebench.bench.cli.say import echo, echo_json

EPILOG = """Examples:

  sparsebench report runs/quick-20260101-120000

  sparsebench report runs/laptop runs/server --out both.html

  sparsebench report runs/today --max-accuracy-loss 1 --out report.md

  sparsebench report runs/today --out tables.tex
"""


def report(
    runs: Annotated[list[Path], typer.Argument(help="One or more run folders.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File ending in .html, .md, .tex or .csv (default: report.html in the first run)."
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="html, markdown, latex or csv (default: as --out ends).")
    ] = "",
    max_accuracy_loss: Annotated[
        float, typer.Option(help="Points of accuracy that the answer may lose.")
    ] = 0.5,
    production: Annotated[
        bool, typer.Option("--production", help="Only engines whose licence allows production.")
    ] = False,
    confidence: Annotated[
        str, typer.Option(help="Probability with which the accuracy limit must hold.")
    ] = "95%",
    as_json: Json = False,
) -> None:
    """Answer "which is fastest within 0.5 points?" on one page that needs no network.

    With --json the same facts are printed; a file is then written only where --out names one.
    """
    from sparsebench.bench.present.report import build_report, write_report
    from sparsebench.bench.present.report.write import chosen_format, rendered
    from sparsebench.models.errors import NothingMeasuredError

    form = chosen_format(out, form)
    one_text(as_json, out)
    found = build_report(
        runs,
        max_accuracy_loss,
        production=production,
        confidence=certainty(confidence, "--confidence"),
    )
    written = None
    if out == STANDARD_OUTPUT:
        write(out, rendered(found, form))
    elif out is not None or not as_json:
        written = write_report(found, out, form)
    if as_json:
        echo_json(found.to_json())
    elif written is not None:
        echo(str(written))
    if not found.cells:
        raise NothingMeasuredError(
            "Nothing was measured: every cell failed.",
            f"The reasons are in {written}." if written else "The reasons stand under `problems`.",
        )
