"""The command line: ``sparsebench COMMAND``, one file a group of commands.

Exit codes: 0 fine, 1 regression or failed check, 2 wrong usage or input, 3 nothing was
measured, 4 cannot tell (the noise leaves a limit open), 130 interrupted. Heavy libraries are
imported inside commands, so that ``sparsebench --help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache as cache_once
from typing import Annotated, NoReturn

import typer

from sparsebench.bench.cli import (
    advise,
    cache,
    check,
    compare,
    doctor,
    evaluate,
    export,
    history,
    inspect,
    noise,
    plot,
    publish,
    report,
    reproduce,
    run,
    sparsify,
)
from sparsebench.bench.cli import (
    list as list_command,
)
from sparsebench.bench.cli.say import echo, fit_streams
from sparsebench.exporters.worker.bytecode import keep_bytecode
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import typed_here

app = typer.Typer(
    name="sparsebench",
    epilog="Start with:  sparsebench run quick",
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def sparsebench(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """What does a sparse vision backbone buy, in seconds, and what does it cost, in accuracy?"""
    if version:
        from sparsebench import __version__

        echo(f"sparsebench {__version__}")
        raise typer.Exit


app.command(name="run", epilog=run.EPILOG)(run.run)
app.command(name="list", epilog=list_command.EPILOG)(list_command.list_names)
app.command(name="doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.command(name="export", epilog=export.EPILOG)(export.export)
app.command(name="sparsify", epilog=sparsify.EPILOG)(sparsify.sparsify)
app.command(name="inspect", epilog=inspect.EPILOG)(inspect.inspect)
app.command(name="evaluate", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command(name="compare", epilog=compare.EPILOG)(compare.compare)
app.command(name="advise", epilog=advise.EPILOG)(advise.advise)
app.command(name="plot", epilog=plot.EPILOG)(plot.plot)
app.command(name="reproduce", epilog=reproduce.EPILOG)(reproduce.reproduce)
app.command(name="report", epilog=report.EPILOG)(report.report)
app.command(name="check", epilog=check.EPILOG)(check.check)
app.command(name="noise", epilog=noise.EPILOG)(noise.noise)
app.command(name="history", epilog=history.EPILOG)(history.history)
app.command(name="push", epilog=publish.PUSH_EPILOG)(publish.push)
app.command(name="leaderboard", epilog=publish.LEADERBOARD_EPILOG)(publish.leaderboard)
app.add_typer(check.baseline_app, name="baseline")
app.add_typer(doctor.engines_app, name="engines")
app.add_typer(cache.cache_app, name="cache")


@cache_once
def command_tree() -> Callable[[], object]:
    """The commands with their options; Typer would build them all again for every call."""
    return typer.main.get_command(app)


def main() -> None:
    """Entry point of the ``sparsebench`` command."""
    keep_bytecode()
    fit_streams()
    try:
        try:
            with _ended_as_interrupted():
                command_tree()()
        finally:
            if sys.stdout is not None:  # what waits for being written may not fit any more
                sys.stdout.flush()
    except SparsebenchError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except _OF_A_FILE as error:
        damaged = _damaged(error)
        if damaged is None:
            raise
        _print_error(damaged)
        sys.exit(damaged.exit_code)
    except BrokenPipeError:
        # `sparsebench list ... | head`: the reader left, which is no error of ours.
        _silence_output()
        sys.exit(0)
    except OSError as error:
        if os.environ.get("SPARSEBENCH_TRACEBACK"):
            raise
        # A full disk behind `> FILE`, a folder that is gone, a drive that fails.
        _silence_output()
        where = error.filename or "Standard output"
        _print_error(
            SparsebenchError(
                f"{where} cannot be read or written: {error.strerror or error}.",
                "Is the disk full, or the file another's? SPARSEBENCH_TRACEBACK=1 shows more.",
            )
        )
        sys.exit(2)


@contextmanager
def _ended_as_interrupted() -> Iterator[None]:
    """A first SIGTERM (of a CI job that is cancelled, a shutdown) ends a command as Ctrl-C does.

    Workers are ended, and a run says how to go on. A second one ends the process at once.
    """

    def interrupt(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # only the main thread may say what signals do
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _silence_output() -> None:
    """Nothing more is written to standard output, also at the interpreter's end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# What a value of the wrong kind leads to, wherever it is used.
_OF_A_FILE = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def _damaged(error: Exception) -> SparsebenchError | None:
    """Blame the file of a run whose lines carry no checksum, if one was read; else it is our bug.

    A line with its checksum is as this suite has written it. One without may hold anything that
    its schema lets pass, and ``extra``, ``settings`` and ``machine`` are open.
    """
    records = sys.modules.get("sparsebench.bench.records.jsonl")
    files = [] if records is None else records.unproven_files()
    if not files or os.environ.get("SPARSEBENCH_TRACEBACK"):
        return None
    return SparsebenchError(
        f"A value in {', '.join(files[:3])} cannot be used: {type(error).__name__}: {error}.",
        "Its lines carry no checksum: restore the file, or run again. SPARSEBENCH_TRACEBACK=1 "
        "shows where it happened, for a report.",
    )


def _print_error(error: SparsebenchError) -> None:
    from rich.text import Text

    from sparsebench.bench.cli.console import new_console

    console = new_console(stderr=True)
    # Soft wrapping: a path that is broken in two cannot be copied.
    console.print(Text("Error: ", style="bold red") + Text(error.cause), soft_wrap=True)
    if error.fix:
        console.print(Text(typed_here(error.fix)), soft_wrap=True)
