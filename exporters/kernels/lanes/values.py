"""Values: strided arrays of vectors, as numpy sees strided arrays of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

_ANCHOR = np.zeros(1, np.uint8)


@dataclass(frozen=True)
class View:
    """Where the numbers of a value lie.

    Attributes:
        buffer: number of its memory.
        offset: of its first number there, vectors.
        shape: of the value for one image, the axis of the batch (1) included.
        strides: distance of neighbours along each axis, vectors.
    """

    buffer: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> View | None:
        """The view that numpy makes of this one; None where it would have to copy.

        Args:
            change: of an array of this shape; must not read its numbers.
        """
        before = as_strided(_ANCHOR, self.shape, self.strides, writeable=False)
        try:
            after = change(before)
        except AttributeError:  # a shape that these strides cannot have
            return None
        moved = _address(after) - _address(_ANCHOR)
        return View(self.buffer, self.offset + moved, after.shape, after.strides)

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same numbers in order under another shape; None where they do not lie so."""

        def change(array: NDArray[Any]) -> NDArray[Any]:
            array = array.view()
            array.shape = tuple(shape)
            return array

        return self.changed(change)

    def broadcast(self, shape: Sequence[int]) -> View:
        """Repeated along axes of size 1, with stride 0."""
        found = self.changed(lambda array: np.broadcast_to(array, tuple(shape)))
        assert found is not None
        return found

    @property
    def order(self) -> list[int]:
        """Axes from the outermost in memory to the innermost."""
        axes = range(len(self.shape))
        return sorted(axes, key=lambda axis: (-abs(self.strides[axis]), axis))


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def strides_for(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of an array without gaps whose axes lie in this order, the last side by side."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)
