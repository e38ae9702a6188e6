"""A word now and then from a training process, so that long work is not taken for a hang.

The word is sent by the work itself, after a step or a batch: a process that hangs sends none. A
thread would go on sending beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Told in words, as often as one likes, how far the work is.
Beat = Callable[[str], None]

EVERY_SECONDS = 5.0
# Words that a parent may expect before it takes the process for hung.
_WORDS_BEFORE_TIMEOUT = 4


def silent(text: str) -> None:
    """The beat of work that nobody waits for."""


def seconds_between(timeout: float) -> float:
    """How often a word comes where `timeout` seconds without one count as a hang."""
    return min(EVERY_SECONDS, timeout / _WORDS_BEFORE_TIMEOUT)


class Heartbeat:
    """Lets a word through every few seconds; the others cost a look at the clock.

    Args:
        say: receives what is let through.
        every: seconds between two words at least.
        now: seconds, never going back; for tests.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        every: float = EVERY_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._every, self._now = say, every, now
        self._last = now()

    def __call__(self, text: str) -> None:
        """Some progress: said if nothing was for so long."""
        if self._now() - self._last >= self._every:
            self.say(text)

    def say(self, text: str) -> None:
        """Said at once."""
        self._last = self._now()
        self._say(text)
