"""``sparsebench push`` and ``sparsebench leaderboard``: results, out to where people keep them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import write
from sparsebench.bench.cli.say import echo

PUSH_EPILOG = """Examples:

  sparsebench push my-first OWNER/NAME --private
"""
LEADERBOARD_EPILOG = """Examples:

  sparsebench leaderboard laptop/ server/ --out leaderboard.html
"""


def push(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    repository: Annotated[str, typer.Argument(help="Data set repository, as OWNER/NAME.")],
    private: Annotated[
        bool, typer.Option("--private", help="Where it is made anew, nobody else sees it.")
    ] = False,
) -> None:
    """Push a run's records, report and a card to the Hugging Face hub; no image, no weight."""
    from sparsebench.bench.publish.hub import push_run
    from sparsebench.bench.records import RunFolder

    echo(f"Pushed: {push_run(RunFolder.reading(run), repository, private=private)}")


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, of any machines.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("leaderboard.html"),
) -> None:
    """Write a page of many machines' runs: ratios only, a column for each machine."""
    from sparsebench.bench.publish.leaderboard import leaderboard, leaderboard_page
    from sparsebench.bench.publish.shareable import shareable
    from sparsebench.bench.records import RunFolder

    with ExitStack() as stack:
        shown = [stack.enter_context(shareable(folder)) for folder in RunFolder.reading_all(runs)]
        found = leaderboard(shown)
    write(out, leaderboard_page(found))
    count = len(found.machines)
    echo(f"{count} {'machine' if count == 1 else 'machines'}: {out}")
