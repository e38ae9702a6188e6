"""What a run shows in the terminal: progress while it works, tables when it is done."""

from __future__ import annotations

from sparsebench.bench.cli.console import new_console
from sparsebench.bench.cli.progress import LiveProgress
from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.bench.present.summaries import render_tables
from sparsebench.bench.run.execute import Outcome
from sparsebench.bench.run.pace import Pace, Reading


class RunDisplay(LiveProgress):
    """How far a run is, and how long the rest of it takes.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__("sparsebench", quiet=quiet)
        self._pace = Pace()

    def begin(self, title: str, pace: Pace) -> None:
        """A run begins."""
        self._pace = pace
        self._progress.update(self._bar, title=title)

    def reading(self) -> Reading:
        """As :meth:`LiveProgress.reading`."""
        return self._pace.reading()


def print_outcome(outcome: Outcome, *, as_json: bool, warned: str | None = None) -> None:
    """The tables of a finished run and where its files are; or its comparisons as JSON.

    Args:
        outcome: of the run.
        as_json: for a script.
        warned: what was said of a busy machine before the run.
    """
    if as_json:
        facts = {
            "out": str(outcome.folder.path),
            "measured": outcome.measured,
            "failed": outcome.failed,
            "busy_at_start": warned,
            "comparisons": [item.to_json() for item in outcome.folder.comparisons()],
        }
        echo_json(facts)
        return
    console = new_console()
    for renderable in render_tables(outcome.folder):
        console.print(renderable)
    if warned:
        echo(f"\nSaid before the run: {warned}", err=True)
    console.print(f"\nAll of it: {outcome.folder.path}/")
    console.print("  report.html, summary.md, summary.csv, speedup-accuracy.png, records.jsonl, …")
