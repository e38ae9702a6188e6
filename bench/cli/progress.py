"""Progress that a terminal shows live, and a log as a line now and then."""

from __future__ import annotations

import threading
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
SAME_LINE_EVERY_SECONDS = 60.0


class LiveProgress:
    """One bar on a terminal's standard error; leaves the terminal as it was.

    Where there is no terminal (CI, a pipe) a line is printed instead, at most one every
    :data:`LINE_EVERY_SECONDS`; while one thing lasts, one every :data:`SAME_LINE_EVERY_SECONDS`.

    Args:
        title: what the bar says first.
        description: what is being done now.
        quiet: show nothing.
    """

    def __init__(self, title: str, description: str = "", *, quiet: bool = False) -> None:
        self._console = new_console(stderr=True)
        self._quiet = quiet
        self._live = self._console.is_terminal and not quiet
        self._last_line, self._told, self._text = 0.0, "", description
        self._over, self._one_at_a_time = threading.Event(), threading.Lock()
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
        self._text = escape.visible(text)
        self._progress.update(self._bar, description=self._text, completed=self.reading().share)
        self.print_line()

    def print_line(self) -> None:
        """Where there is no terminal: the line of this moment, if it is time for one."""
        with self._one_at_a_time:
            same = self._text == self._told
            since = time.monotonic() - self._last_line
            due = SAME_LINE_EVERY_SECONDS if same else LINE_EVERY_SECONDS
            if not self._live and not self._quiet and self._text and since > due:
                self._last_line, self._told = time.monotonic(), self._text
                echo(f"[{times(self.reading())}] {self._text}", err=True)

    def _print_lines(self) -> None:
        while not self._over.wait(LINE_EVERY_SECONDS):
            self.print_line()

    def note(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._over.set()
        self._progress.stop()

    def __enter__(self) -> Self:
        self._progress.start()
        if not self._live and not self._quiet:
            threading.Thread(target=self._print_lines, daemon=True).start()
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
    """``12 %, 35 s elapsed, about 4.2 min remaining``; ``perhaps`` before anything is measured."""
    left = "remaining time not known yet"
    if now.guess is not None:
        left = f"perhaps {duration(round(now.guess))} remaining"
    if now.remaining is not None:
        bound = "at least" if now.at_least else "about"
        left = f"{bound} {duration(round(now.remaining))} remaining"
    percent = 100 * now.share
    # Who is at work for minutes more does not read that all is done.
    told = 99 if 99 <= percent < 100 else percent
    return f"{told:.0f} %, {duration(round(now.elapsed))} elapsed, {left}"
