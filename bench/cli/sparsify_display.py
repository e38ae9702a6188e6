"""What ``sparsebench sparsify`` shows while it trains, and when it is done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sparsebench.bench.cli.progress import LiveProgress
from sparsebench.bench.run.pace import Reading

if TYPE_CHECKING:
    from sparsebench.models.sparsify.resume import Progress


class TrainingDisplay(LiveProgress):
    """How far a training is, and how long the rest of it takes.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__("sparsify", "reading the images", quiet=quiet)
        self._started = time.monotonic()
        self._first: tuple[int, float] | None = None
        self.last: Progress | None = None

    def stage(self, name: str, index: int, count: int) -> None:
        """A training begins."""
        self._started, self._first, self.last = time.monotonic(), None, None
        title = f"{name} ({index + 1} of {count})" if count > 1 else name
        self._progress.update(self._bar, title=title)
        self._last_line = float("-inf")  # whose training it is, is always said
        self.say("reading the images")

    def progress(self, report: Progress) -> None:
        """A few steps further."""
        if self._first is None or report.step < self._first[0]:
            self._first = (report.step, time.monotonic())
        self.last = report
        if report.step == report.total_steps:
            self._last_line = float("-inf")  # the end is always said
        self.say(
            f"epoch {report.epoch + 1}, loss {report.loss:.3f}, accuracy {report.accuracy:.1%}, "
            f"sparsity {report.sparsity:.1%}"
            + "; measuring the accuracy"
            * (report.step == report.total_steps)
        )

    def reading(self) -> Reading:
        """As :meth:`LiveProgress.reading`; of the training at work."""
        now = time.monotonic()
        if self._first is None or self.last is None:
            return Reading(0.0, now - self._started, None)
        done, left = self.last.step - self._first[0], self.last.total_steps - self.last.step
        remaining = (now - self._first[1]) / done * left if done else None if left else 0.0
        share = self.last.step / self.last.total_steps
        return Reading(share, now - self._started, remaining)
