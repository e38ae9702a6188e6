"""Two runs that share one machine: only the one whose turn it is works, the other waits.

`check --base … --head …` starts a run of either side at once. One token goes to and fro between
them over two pipes, and a run does nothing without it, from its first export to its last record.
Inside a block it hands the token over between its visits, so that the sides alternate as ABBA.
The visits that are compared lie tenths of a second apart then, and a machine that changes its
speed does so for both. (Whole runs in turns lie half a minute apart: on a shared machine that
alone made equal commits differ by a tenth.)

The side that comes second to a block's visits leads in it, and has the token when they are over;
so it comes first to the next block, and the other leads there. Where the other run ends or is
killed, its end of the pipe closes, and this one goes on alone.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from sparsebench.models.errors import SparsebenchError

TURNS = "SPARSEBENCH_TURNS"
"""Environment variable: role and file descriptors, as "first:READ:WRITE" or "second:…"."""
PROTOCOL = 1
"""What two checkouts must agree on to share a machine; `bench.gate.sides` reads this line."""
FIRST, SECOND = "first", "second"

_BEGUN, _VISITED, _ENDED = b"b", b"v", b"e"


class Turns:
    """One run's ends of the two pipes; without pipes it never waits.

    Args:
        role: `FIRST` has the token at the start, `SECOND` waits for it.
        read: descriptor the token comes from; None for a run of its own.
        write: descriptor it goes to.
    """

    def __init__(
        self, role: str = FIRST, read: int | None = None, write: int | None = None
    ) -> None:
        self._role = role
        self._read, self._write = read, write
        self._leads = False
        self._visit = 0
        self._other_begun = self._other_ended = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Turns:
        """The ends that `check` has handed to this process, if it has; it hands them to none.

        Raises:
            SparsebenchError: the variable is set and holds something else.
        """
        text = environment.pop(TURNS, "")
        if not text:
            return cls()
        try:
            role, read, write = text.split(":")
            for end in (read, write):
                os.set_inheritable(int(end), False)
        except (ValueError, OSError) as error:
            raise SparsebenchError(
                f"{TURNS}='{text}' names no open pipes.", "Only `check` sets it: unset it."
            ) from error
        return cls(role, int(read), int(write))

    @property
    def shared(self) -> bool:
        """Whether another run is measured beside this one."""
        return self._read is not None

    def start(self) -> None:
        """Wait for the first turn; before anything that takes the machine's time."""
        if self._role == SECOND:
            self._wait()

    def begin(self) -> None:
        """A block's visits begin: both sides have come to this point before the first visit."""
        self._visit = 0
        self._leads = self._other_begun or not self.shared
        if not self._leads:
            self._hand_over(_BEGUN)
        self._other_begun = False

    def pass_on(self) -> None:
        """Before each visit of a block: let the other side work, where it is its turn."""
        self._visit += 1
        # leads | follows | follows | leads | leads | …
        mine_is_over = self._visit > 1 and (self._visit % 2 == 0) == self._leads
        if mine_is_over and not self._other_ended:
            self._hand_over(_VISITED)

    def end(self) -> None:
        """A block's visits are over; what follows waits until they are on both sides."""
        if not (self._other_ended and self._leads):
            self._hand_over(_ENDED)
        self._other_ended = False

    def _hand_over(self, word: bytes) -> None:
        if self._write is None:
            return
        try:
            os.write(self._write, word)
        except OSError:  # the other run has ended
            self._alone()
            return
        self._wait()

    def _wait(self) -> None:
        if self._read is None:
            return
        word = os.read(self._read, 1)
        if not word:
            self._alone()
        self._other_begun |= word == _BEGUN
        self._other_ended |= word == _ENDED

    def _alone(self) -> None:
        for end in (self._read, self._write):
            if end is not None:
                os.close(end)
        self._read = self._write = None
