"""What ``sparsebench sparsify`` shows while it trains, and when it is done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sparsebench.bench.cli.progress import LINE_EVERY_SECONDS, LiveProgress
from sparsebench.bench.cli.say import echo

if TYPE_CHECKING:
    from sparsebench.models.sparsify.resume import Progress


class TrainingDisplay(LiveProgress):
    """A live bar on a terminal; a line an epoch, and now and then, where there is none.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__("sparsify", "reading the images", quiet=quiet)
        self._title = "sparsify"
        self._first: tuple[int, float] | None = None
        self.last: Progress | None = None

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True)

    def stage(self, name: str, index: int, count: int) -> None:
        """A training begins."""
        self._title = f"{name} ({index + 1} of {count})" if count > 1 else name
        self._first = None
        self.last = None
        self._progress.reset(self._bar, total=None, title=self._title)
        self._progress.update(self._bar, description="reading the images")

    def progress(self, report: Progress) -> None:
        """A few steps further."""
        now = time.monotonic()
        if self._first is None or report.step < self._first[0]:
            self._first = (report.step, now)
        self.last = report
        text = (
            f"epoch {report.epoch + 1}, loss {report.loss:.3f}, accuracy {report.accuracy:.1%}, "
            f"sparsity {report.sparsity:.1%}"
        )
        self._progress.update(
            self._bar, total=report.total_steps, completed=report.step, description=text
        )
        ended = report.step == report.total_steps
        if ended:
            self._progress.update(self._bar, description=text + "; measuring the accuracy")
        late = now - self._last_line > LINE_EVERY_SECONDS
        if not self._live and not self._quiet and (late or report.epoch_done):
            self._last_line = now
            left = self._left(report, now)
            echo(f"[{self._title} {report.step}/{report.total_steps}] {text}{left}", err=True)

    def _left(self, report: Progress, now: float) -> str:
        assert self._first is not None
        steps, seconds = report.step - self._first[0], now - self._first[1]
        if not steps or report.step == report.total_steps:
            return ""
        return f", about {seconds / steps * (report.total_steps - report.step):.0f} s left"
