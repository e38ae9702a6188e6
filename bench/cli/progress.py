"""Progress that a terminal shows live, and a log as a line now and then."""

from __future__ import annotations

import time
from typing import Self

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from sparsebench.bench.cli.console import new_console
from sparsebench.bench.cli.say import duration, echo
from sparsebench.bench.present import escape
from sparsebench.bench.run.pace import Reading

LINE_EVERY_SECONDS = 15.0


class LiveProgress:
    """One bar on a terminal's standard error; leaves the terminal as it was.

    Where there is no terminal (CI, a pipe) a line is printed instead, at most one every
    :data:`LINE_EVERY_SECONDS`.

    Args:
        title: what the bar says first.
        description: what is being done now.
        quiet: show nothing.
    """

    def __init__(self, title: str, description: str = "", *, quiet: bool = False) -> None:
        self._console = new_console(stderr=True)
        self._quiet = quiet
        self._live = self._console.is_terminal and not quiet
        self._last_line = 0.0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[title]}", markup=False),
            BarColumn(bar_width=20),
            _Times(self),
            TextColumn("{task.description}", style="dim", markup=False),
            console=self._console,
            disable=not self._live,
        )
        self._bar = self._progress.add_task(description, total=1.0, title=title)

    def reading(self) -> Reading:
        """Where the work is now."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """What is being done now."""
        now, text = self.reading(), escape.visible(text)
        self._progress.update(self._bar, description=text, completed=now.share)
        since = time.monotonic() - self._last_line
        if not self._live and not self._quiet and since > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            echo(f"[{times(now)}] {text}", err=True)

    def note(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class _Times(ProgressColumn):
    """Share, elapsed and remaining; they go on between two events."""

    def __init__(self, shown: LiveProgress) -> None:
        super().__init__()
        self._shown = shown

    def render(self, task: Task) -> Text:
        return Text(times(self._shown.reading()))


def times(now: Reading) -> str:
    """``12 %, 35 s elapsed, about 4.2 min remaining``."""
    left = "remaining time not known yet"
    if now.remaining is not None:
        bound = "at least" if now.at_least else "about"
        left = f"{bound} {duration(round(now.remaining))} remaining"
    return f"{100 * now.share:.0f} %, {duration(round(now.elapsed))} elapsed, {left}"
