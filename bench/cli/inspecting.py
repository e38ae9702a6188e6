"""``sparsebench inspect``: what checkpoints, ONNX files or backbones hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import Json
from models.errors import SparsebenchError

if TYPE_CHECKING:
    from bench.inspection import Inspection

EPILOG = """Examples:

  sparsebench inspect resnet18/magnitude-90@generated

  sparsebench inspect my-checkpoint.pth

  sparsebench inspect model.onnx --json

  sparsebench inspect --compare resnet18/gmp-90 resnet18/acdc-90 mine.pth
"""


def inspect(
    targets: Annotated[
        list[str], typer.Argument(help="A checkpoint or ONNX file, or a backbone's name.")
    ],
    size: Annotated[
        int, typer.Option(help="Input side in pixels for the FLOPs (0: the backbone's own).")
    ] = 0,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put several side by side, and draw them.")
    ] = False,
    plot: Annotated[
        Path, typer.Option(help="With --compare: the picture's file (.png, .svg or .pdf).")
    ] = Path("inspect-compare.png"),
    as_json: Json = False,
) -> None:
    """Show format, sparsity, FLOPs and dead filters, layer by layer."""
    from bench.inspection import inspect_target, render

    if not compare and len(targets) > 1:
        raise SparsebenchError(
            f"{len(targets)} things were named.", "Inspect one, or put --compare before them."
        )
    reports = [inspect_target(target, size=size or None) for target in targets]
    if compare:
        _compare(reports, plot, as_json)
        return
    if as_json:
        import json

        print(json.dumps(reports[0].to_json(), indent=1))
        return
    from rich.console import Console

    for item in render(reports[0]):
        Console().print(item)


def _compare(reports: list[Inspection], plot: Path, as_json: bool) -> None:
    from bench.model_comparison import dead_by_layer, label, render, totals
    from bench.plots.networks import save

    written = save(reports, plot)
    if as_json:
        import json

        layers = {label(report): dict(dead_by_layer(report)) for report in reports}
        content = {"networks": totals(reports), "dead_filters": layers, "plot": str(written)}
        print(json.dumps(content, indent=1))
        return
    from rich.console import Console

    for item in render(reports):
        Console().print(item)
    Console().print(f"\nplot: {written}", soft_wrap=True)
