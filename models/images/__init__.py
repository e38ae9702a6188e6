"""Images with labels from a folder or a tar: one reader for training, measuring and making.

``sparsify --data`` and ``run --task`` read the same images of the same place: this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from sparsebench.models.images.labelled import LabelledImages, ReadOptions


def open_images(path: Path, options: ReadOptions) -> LabelledImages:
    """Open a folder or a tar with ``train/CLASS/`` and ``test/CLASS/`` (or ``val/``) in it.

    Raises:
        SparsebenchError: another layout, classes that differ, a class without images or that
            loses most of them, with ``strict`` any image that is left out; what cannot be read.
    """
    from sparsebench.models.images.archive import open_archive
    from sparsebench.models.images.folder import open_folder

    if not path.exists():
        raise SparsebenchError(
            f"There is no folder or archive '{path}'.",
            "Give a folder or tar with train/CLASS/ and test/CLASS/ in it.",
        )
    return open_folder(path, options) if path.is_dir() else open_archive(path, options)
