"""One writer for a run's folder."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from sparsebench.models.errors import SparsebenchError


class FolderLock:
    """Held until `release`, or until the process ends in whatever way.

    Workers that outlive a killed run do not keep it, so `--resume` works at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._lock = FileLock(self._path, timeout=0, mode=0o644)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            SparsebenchError: another run holds it.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            owner = self._path.read_text("utf-8", errors="replace")[:32].strip()
            raise SparsebenchError(
                f"Another run (process {owner}) is writing to {self._path.parent}.",
                "Wait until it ends, or choose another --out.",
            ) from error
        self._path.write_text(f"{os.getpid()}\n", "utf-8")

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        self._lock.release()
