"""The images of a call: what a network was compiled for, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError


def checked_images(images: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The images as the kernels read them: contiguous, aligned, of one data type.

    The kernels read as many bytes as they were compiled for, from wherever they are told to.

    Args:
        images: an array; it is returned as it is if it fits (in well below a microsecond).
        shape: ``(N, C, H, W)`` that it must have.
        dtype: of the kernels; other types are converted where no value changes.

    Raises:
        SparsebenchError: it has another shape, or a type that would have to be rounded.
    """
    if type(images) is np.ndarray and images.shape == shape and images.dtype == dtype:
        flags = images.flags
        if flags.c_contiguous and flags.aligned:
            return images
    given = np.asarray(images)
    if given.shape != shape or not np.can_cast(given.dtype, dtype, "safe"):
        raise SparsebenchError(
            f"The network is compiled for images {list(shape)} of {dtype}, "
            f"not {list(given.shape)} of {given.dtype}.",
            "Compile it for this batch size, or convert the images.",
        )
    return np.require(given, dtype, ["C", "A"])
