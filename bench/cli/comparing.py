"""``sparsebench compare``: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Json

EPILOG = """Examples:

  sparsebench compare runs/monday runs/tuesday

  sparsebench compare runs/laptop runs/server --across-machines
"""


def compare(
    a: Annotated[Path, typer.Argument(help="Folder of the first run.")],
    b: Annotated[Path, typer.Argument(help="Folder of the second run.")],
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare speed-ups of different machines.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the speed-ups and accuracies of two runs, cell by cell."""
    from bench.reporting import compare_folders

    result = compare_folders(a, b, across_machines=across_machines)
    if as_json:
        import json

        print(json.dumps(result.to_json(), indent=1))
        return
    from rich.console import Console

    for item in result.render():
        Console().print(item)
