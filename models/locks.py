"""One process at a time does what only one may do."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger("sparsebench")


@contextmanager
def locked(beside: Path) -> Iterator[None]:
    """Whoever else wants the lock of this file or folder waits until the block ends.

    The lock ends with the process in whatever way that ends. Programs that outlive it do not
    hold the lock, because they do not inherit the file.

    Args:
        beside: what the lock is about; its file lies beside it, with the suffix ``.lock``.

    Raises:
        OSError: the lock's file cannot be made.
    """
    handle = os.open(beside.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks: at worst two do the same work
            log.warning("%s cannot be locked: %s", beside, error.strerror)
        try:
            yield
        finally:
            # A fork of this process has the file open, too: closing alone would not unlock it.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)
