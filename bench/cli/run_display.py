"""What a run shows in the terminal: progress while it works, tables when it is done."""

from __future__ import annotations

import time

from rich.progress import SpinnerColumn, TimeElapsedColumn

from sparsebench.bench.cli.console import new_console
from sparsebench.bench.cli.progress import LINE_EVERY_SECONDS, LiveProgress
from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.bench.present import escape
from sparsebench.bench.present.summaries import render_tables
from sparsebench.bench.run.run import Outcome


class RunDisplay(LiveProgress):
    """A live bar on a terminal; a line now and then where there is none (CI, a pipe).

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(
            "sparsebench", before=(SpinnerColumn(),), after=(TimeElapsedColumn(),), quiet=quiet
        )
        self._started = time.monotonic()
        self._done = 0
        self._steps = 0

    def begin(self, title: str, steps: int) -> None:
        """A run of so many trials begins."""
        self._steps = steps
        self._progress.update(self._bar, total=steps, title=title)

    def say(self, text: str) -> None:
        """What is being done now."""
        text = escape.visible(text)
        self._progress.update(self._bar, description=text)
        since = time.monotonic() - self._last_line
        if not self._live and not self._quiet and since > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            elapsed = time.monotonic() - self._started
            left = f", about {self._left():.0f} s left" if self._done else ""
            echo(f"[{self._done}/{self._steps}] {elapsed:.0f} s{left}: {text}", err=True)

    def step(self, count: int = 1) -> None:
        """So many trials ended."""
        self._done += count
        self._progress.advance(self._bar, count)

    def _left(self) -> float:
        elapsed = time.monotonic() - self._started
        return elapsed / self._done * (self._steps - self._done)


def print_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """The tables of a finished run and where its files are; or its comparisons as JSON."""
    if as_json:
        facts = {
            "out": str(outcome.folder.path),
            "measured": outcome.measured,
            "failed": outcome.failed,
            "comparisons": [item.to_json() for item in outcome.folder.comparisons()],
        }
        echo_json(facts)
        return
    console = new_console()
    for renderable in render_tables(outcome.folder):
        console.print(renderable)
    console.print(f"\nAll of it: {outcome.folder.path}/")
    console.print("  report.html, summary.md, summary.csv, speedup-accuracy.png, records.jsonl, …")
