"""Where the suite keeps what it can make again: exports, features, engine environments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sparsebench.models.errors import SparsebenchError


def cache_dir(*parts: str) -> Path:
    """The user's cache folder for this suite, made if it is missing.

    ``SPARSEBENCH_CACHE`` overrides the platform's own place
    (``XDG_CACHE_HOME``, ``~/.cache``, ``~/Library/Caches``).

    Args:
        parts: folders below it, e.g. ``("artifacts",)``.

    Raises:
        SparsebenchError: the folder cannot be made or written.
    """
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
    if override := os.environ.get("SPARSEBENCH_CACHE"):
        return Path(override).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "sparsebench"
    home = Path.home()
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "sparsebench"
