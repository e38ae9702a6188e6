"""The command line: ``sparsebench COMMAND``, one file a group of commands.

Exit codes: 0 fine, 1 regression or failed check, 2 wrong usage or input, 3 nothing was
measured, 130 interrupted. Heavy libraries are imported inside commands, so that
``sparsebench --help`` answers at once.
"""

from __future__ import annotations

import os
import sys

import typer

from bench.cli import (
    advising,
    checking,
    comparing,
    doctoring,
    exporting,
    following,
    inspecting,
    listing,
    noising,
    plotting,
    reporting,
    reproducing,
    running,
    sparsifying,
)
from exporters.bytecode import keep_bytecode
from models.errors import SparsebenchError

app = typer.Typer(
    name="sparsebench",
    help="What does a sparse vision backbone buy, in seconds, and what does it cost, in accuracy?",
    epilog="Start with:  sparsebench run quick",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="run", epilog=running.EPILOG)(running.run)
app.command(name="list", epilog=listing.EPILOG)(listing.list_names)
app.command(name="doctor", epilog=doctoring.EPILOG)(doctoring.doctor)
app.command(name="export", epilog=exporting.EPILOG)(exporting.export)
app.command(name="sparsify", epilog=sparsifying.EPILOG)(sparsifying.sparsify)
app.command(name="inspect", epilog=inspecting.EPILOG)(inspecting.inspect)
app.command(name="compare", epilog=comparing.EPILOG)(comparing.compare)
app.command(name="advise", epilog=advising.EPILOG)(advising.advise)
app.command(name="plot", epilog=plotting.EPILOG)(plotting.plot)
app.command(name="reproduce", epilog=reproducing.EPILOG)(reproducing.reproduce)
app.command(name="report", epilog=reporting.EPILOG)(reporting.report)
app.command(name="check", epilog=checking.EPILOG)(checking.check)
app.command(name="noise", epilog=noising.EPILOG)(noising.noise)
app.command(name="history", epilog=following.EPILOG)(following.history)
app.add_typer(checking.baseline_app, name="baseline")
app.add_typer(doctoring.engines_app, name="engines")


def main() -> None:
    """Entry point of the ``sparsebench`` command."""
    keep_bytecode()
    try:
        app()
    except SparsebenchError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `sparsebench list ... | head`: the reader left, which is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _print_error(error: SparsebenchError) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    # Soft wrapping: a path that is broken in two cannot be copied.
    console.print(Text("Error: ", style="bold red") + Text(error.cause), soft_wrap=True)
    if error.mend:
        console.print(Text(error.mend), soft_wrap=True)
