"""One writer for a run's folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from sparsebench.models.errors import SparsebenchError

log = logging.getLogger("sparsebench")

_held: set[Path] = set()


class FolderLock:
    """Held until `release`, or until the process ends in whatever way.

    A POSIX record lock: unlike flock, a child process that outlives a killed parent does not
    keep it, so `--resume` works at once. It does not tell two owners in one process apart,
    hence the set of held paths.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            SparsebenchError: another run holds it.
        """
        if self._path in _held:
            raise self._refusal(os.getpid())
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(handle)
        except (BlockingIOError, PermissionError) as error:
            owner = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            raise self._refusal(owner) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        _held.add(self._path)
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            _held.discard(self._path)

    def _lock(self, handle: int) -> None:
        try:
            import fcntl
        except ImportError:  # no POSIX locks on this platform
            return
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise
        except OSError as error:  # a file system without locks (some network mounts)
            log.warning("%s cannot be locked: %s", self._path, error.strerror)

    def _refusal(self, owner: object) -> SparsebenchError:
        return SparsebenchError(
            f"Another run (process {owner}) is writing to {self._path.parent}.",
            "Wait until it ends, or choose another --out.",
        )
