"""The steps of one launch of cells: how far they are, and what that tells of its seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median_low

AGAIN = 1 / 3
"""Of getting networks ready for the first time: what it takes at most when they are exported."""
LEAST_SHARE = 0.1
"""Of measuring a launch: what has to be done before its time is told from its own steps."""


class Launch:
    """The steps of one launch.

    Args:
        cells: that are launched together.
        now: when it begins.
        usual: cell -> seconds of measuring it, against each other, where nothing was measured.
        new: whether it holds a network that the run has not had before.
    """

    def __init__(
        self,
        cells: Iterable[str] = (),
        now: float = 0.0,
        usual: Mapping[str, float] | None = None,
        new: bool = False,
    ) -> None:
        self.new = new
        self.since = self._last = now
        self.reached = dict.fromkeys(cells, 0.0)
        self._usual = {cell: (usual or {}).get(cell, 1.0) for cell in self.reached}
        self.spent = dict.fromkeys(self.reached, 0.0)  # seconds of the steps that a cell reached
        self._ready: dict[str, float] = {}  # cell -> its share when it was ready
        self._took: list[float] = []  # seconds until the next cells were ready

    def reach(self, cell: str, share: float, now: float) -> None:
        """So much of a cell's part is done; what it reaches first is to be ready."""
        if cell not in self.reached or not share:
            return
        self.spent[cell] += now - self._last
        if cell not in self._ready:
            if now > self._last:  # else ready together with the one before
                self._took.append(now - self._last)
            self._ready[cell] = share
        self._last = now
        self.reached[cell] = max(self.reached[cell], share)

    @property
    def share(self) -> float:
        """Of its steps, 0 to 1."""
        return sum(self.reached.values()) / max(1, len(self.reached))

    @property
    def once(self) -> float:
        """Seconds of getting cells ready that the next launch will not need."""
        if not self._took:
            return 0.0
        took, usual = sum(self._took), len(self._took) * median_low(self._took)
        return took - (min(usual, AGAIN * took) if self.new else usual)

    def seconds(self, now: float) -> tuple[float, float] | None:
        """Of all of this launch, and of one more; None until :data:`LEAST_SHARE` is measured."""
        # A cell that fails is ready and over at once: it tells nothing of measuring.
        failed = {cell for cell, at in self._ready.items() if at >= 1}
        measuring = {cell: at for cell, at in self._ready.items() if cell not in failed}
        whole = sum(self._usual[cell] for cell in self.reached if cell not in failed)
        done = sum(
            self._usual[cell] * (self.reached[cell] - at) / (1 - at)
            for cell, at in measuring.items()
        )
        if not done or done / whole < LEAST_SHARE:
            return None
        usual = median_low(self._took) if self._took else 0.0
        missing = len(self.reached) / len(self._ready) - 1  # of getting ready, for each of those
        ready = sum(self._took) + len(self._took) * missing * usual
        # What is at work since the last step is somewhere in its midst.
        spent = (now + self._last) / 2 - self.since - sum(self._took)
        all_of_it = ready + spent * whole / done
        return all_of_it, all_of_it - self.once
