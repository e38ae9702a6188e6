"""Where the suite keeps what it can make again: exports, features, engine environments."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from sparsebench.models.errors import SparsebenchError

_VARIABLE = "SPARSEBENCH_CACHE"


def cache_dir(*parts: str) -> Path:
    """The user's cache folder for this suite, made if it is missing.

    ``SPARSEBENCH_CACHE`` overrides the platform's own place
    (``XDG_CACHE_HOME``, ``~/.cache``, ``~/Library/Caches``). Where that cannot be written (a
    read-only home, a user without one), a temporary folder serves this process and its children,
    with a warning.

    Args:
        parts: folders below it, e.g. ``("artifacts",)``.

    Raises:
        SparsebenchError: the folder that ``SPARSEBENCH_CACHE`` names cannot be made or written.
    """
    if not os.environ.get(_VARIABLE) and not _usable():
        _use_temporary()
    folder = _root().joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SparsebenchError(
            f"The cache folder {folder} cannot be made ({error.strerror}).",
            "Set SPARSEBENCH_CACHE to a folder you can write.",
        ) from error
    if not os.access(folder, os.W_OK):
        raise SparsebenchError(
            f"The cache folder {folder} cannot be written.",
            "Set SPARSEBENCH_CACHE to a folder you can write.",
        )
    return folder


def _root() -> Path:
    if override := os.environ.get(_VARIABLE):
        return Path(override).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "sparsebench"
    home = Path.home()
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "sparsebench"


def _usable() -> bool:
    """Whether the platform's own place can be written."""
    try:
        root = _root()
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter: a user without a home
        return False
    return os.access(root, os.W_OK | os.X_OK)


def _use_temporary() -> None:
    folder = tempfile.mkdtemp(prefix="sparsebench-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[_VARIABLE] = folder  # for workers too
    # Not to the log alone: a run's goes to its folder.
    print(
        f"Note: the cache folder in your home cannot be written; {folder} is used and removed at "
        "the end. Set SPARSEBENCH_CACHE to a folder that lasts.",
        file=sys.stderr,
    )
