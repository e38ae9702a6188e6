"""Progress that a terminal shows live, and a log as a line now and then."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sparsebench.bench.cli.console import new_console

LINE_EVERY_SECONDS = 15.0


class LiveProgress:
    """One bar on a terminal's standard error; leaves the terminal as it was.

    Where there is no terminal (CI, a pipe) the bar is off, and whoever inherits prints a line
    every :data:`LINE_EVERY_SECONDS`.

    Args:
        title: what the bar says first.
        description: what is being done now.
        before: columns in front of the bar.
        after: columns between the count and the time that is left.
        quiet: show nothing.
    """

    def __init__(
        self,
        title: str,
        description: str = "",
        *,
        before: tuple[ProgressColumn, ...] = (),
        after: tuple[ProgressColumn, ...] = (),
        quiet: bool = False,
    ) -> None:
        self._console = new_console(stderr=True)
        self._quiet = quiet
        self._live = self._console.is_terminal and not quiet
        self._last_line = 0.0
        self._progress = Progress(
            *before,
            TextColumn("{task.fields[title]}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            *after,
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.description}", style="dim", markup=False),
            console=self._console,
            disable=not self._live,
        )
        self._bar = self._progress.add_task(description, total=None, title=title)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
