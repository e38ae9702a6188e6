"""``sparsebench inspect``: what a checkpoint, an ONNX file or a backbone holds."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import Json

EPILOG = """Examples:

  sparsebench inspect resnet18/magnitude-90@generated

  sparsebench inspect my-checkpoint.pth

  sparsebench inspect model.onnx --json
"""


def inspect(
    target: Annotated[str, typer.Argument(help="A checkpoint or ONNX file, or a backbone's name.")],
    size: Annotated[
        int, typer.Option(help="Input side in pixels for the FLOPs (0: the backbone's own).")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Show sparsity, FLOPs and dead filters, layer by layer."""
    from bench.inspection import inspect_target, render

    report = inspect_target(target, size=size or None)
    if as_json:
        import json

        print(json.dumps(report.to_json(), indent=1))
        return
    from rich.console import Console

    for item in render(report):
        Console().print(item)
