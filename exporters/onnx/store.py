"""Artifacts kept under the cache by content: written beside their place, then moved into it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from sparsebench.exporters.onnx.artifact import ARTIFACT_FILE, Artifact
from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import SparsebenchError


def stored_artifact(key: str, name: str, make: Callable[[Path], Artifact]) -> Artifact:
    """The artifact of that key; made where there is none yet.

    Args:
        key: hash of all that it depends on.
        name: backbone, for messages.
        make: writes its files into an empty folder and returns it, without ``artifact.json``.

    Raises:
        SparsebenchError: ``make`` raises it, or the disk is full.
    """
    root = cache_dir("artifacts")
    folder = root / key
    if (folder / ARTIFACT_FILE).exists():
        return Artifact.read(folder)
    temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=root))
    try:
        make(temporary).write()
        try:
            temporary.replace(folder)
        except OSError:
            if not (folder / ARTIFACT_FILE).exists():  # else another process was first
                raise
    except OSError as error:
        raise SparsebenchError(
            f"The export of {name} could not be written ({error.strerror}).",
            "Free some disk space or set SPARSEBENCH_CACHE to another folder.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Artifact.read(folder)
