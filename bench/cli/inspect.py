"""``sparsebench inspect``: what checkpoints, ONNX files or backbones hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sparsebench.bench.cli.options import Format, Json, a_place
from sparsebench.bench.cli.say import echo_json
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError

if TYPE_CHECKING:
    from sparsebench.bench.why.inspection import Inspection

EPILOG = """Examples:

  sparsebench inspect resnet18/magnitude-90@generated

  sparsebench inspect my-checkpoint.pth

  sparsebench inspect model.onnx --json

  sparsebench inspect --compare resnet18/gmp-90 resnet18/acdc-90 mine.pth

  sparsebench inspect resnet18/gmp-90 --why --engine deepsparse

  sparsebench inspect model.onnx --why --engine onnxruntime --batch-size 1 --json
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
        Path,
        typer.Option(
            callback=a_place, help="With --compare: the image's file (.png, .svg or .pdf)."
        ),
    ] = Path("inspect-compare.png"),
    why: Annotated[
        bool, typer.Option("--why", help="Measure for a minute why it is (not) faster.")
    ] = False,
    engine: Annotated[str, typer.Option(help="With --why: the engine (see `list engines`).")] = "",
    batch_size: Annotated[int, typer.Option(help="With --why: images per call.")] = 16,
    threads: Annotated[int, typer.Option(help="With --why: CPU threads (0: all).")] = 0,
    form: Format = "",
    as_json: Json = False,
) -> None:
    """Show format, sparsity, FLOPs and dead filters, layer by layer; or why it is not faster."""
    from sparsebench.bench.cli.console import show
    from sparsebench.bench.why.inspection import inspect_target, render

    if why or engine:
        _why(targets, engine, why, size or None, batch_size, threads, form, as_json)
        return
    if not compare and len(targets) > 1:
        raise SparsebenchError(
            f"{len(targets)} things were named.", "Inspect one, or put --compare before them."
        )
    reports = [inspect_target(target, size=size or None) for target in targets]
    if compare:
        _compare(reports, plot, form, as_json)
        return
    if as_json:
        echo_json(reports[0].to_json())
        return
    show(render(reports[0]), form)


def _why(
    targets: list[str],
    engine: str,
    why: bool,
    size: int | None,
    batch_size: int,
    threads: int,
    form: str,
    as_json: bool,
) -> None:
    from rich.text import Text

    from sparsebench.bench.cli.console import new_console, show
    from sparsebench.bench.present import escape
    from sparsebench.bench.why import explain, measure, open_target
    from sparsebench.bench.why.answer import why_json, why_text
    from sparsebench.exporters.worker.launch import ENGINES
    from sparsebench.models.cpus import usable_cpus

    if not why or not engine:
        missing = "--why" if engine else "--engine"
        raise SparsebenchError(
            f"{missing} is missing.", "`sparsebench inspect NAME --why --engine deepsparse`."
        )
    if len(targets) > 1:
        raise SparsebenchError("--why takes one thing at a time.", "Ask for each by itself.")
    if batch_size < 1:
        raise SparsebenchError(f"--batch-size must be 1 or more, not {batch_size}.")
    if not 0 <= threads <= usable_cpus():
        raise SparsebenchError(f"--threads must lie between 0 and {usable_cpus()}.")
    ENGINES.target(engine)  # an unknown name is said before anything is loaded
    with new_console(stderr=True).status("") as status:

        def say(text: str) -> None:
            status.update(Text(escape.visible(f"{text} …")))

        say(f"reading {targets[0]}")
        target = open_target(targets[0], size, engine)
        measured = measure(
            target, engine, batch_size=batch_size, threads=threads or usable_cpus(), say=say
        )
    findings = explain(measured)
    if as_json:
        echo_json(why_json(measured, findings))
    else:
        show(why_text(measured, findings), form)
    if measured.refused:
        raise typer.Exit(NothingMeasuredError.exit_code)


def _compare(reports: list[Inspection], plot: Path, form: str, as_json: bool) -> None:
    from rich.text import Text

    from sparsebench.bench.cli.console import show
    from sparsebench.bench.why.model_comparison import dead_by_layer, label, render, totals
    from sparsebench.bench.why.networks_figure import save

    written = save(reports, plot)
    if as_json:
        layers = {label(report): dict(dead_by_layer(report)) for report in reports}
        content = {"networks": totals(reports), "dead_filters": layers, "plot": str(written)}
        echo_json(content)
        return
    plotted = Text(f"\nplot: {written}", no_wrap=True)
    show([*render(reports), plotted], form)
