"""Windows of a maximum pooling as the kernels read them."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import CWindow
from sparsebench.exporters.kernels.compiled.steps import MaxPoolStep


@dataclass(frozen=True)
class Pooled:
    """A pooling of one shape.

    Attributes:
        out: shape of its output.
        reference: what the kernels read.
        which: memory for the pixel of each window that is the maximum, a byte for each value of
            the output; None where it is not kept.
    """

    out: Blocked
    reference: Any
    which: Tensor | None = None


def pooled_shape(step: MaxPoolStep, inp: Blocked) -> Pooled:
    """The pooling of an input of a shape."""

    def size(n: int) -> int:
        return (n + 2 * step.padding - step.kernel) // step.stride + 1

    height, width = size(inp.height), size(inp.width)
    out = Blocked(inp.images, inp.channels, height, width, inp.lanes, inp.item_bytes)
    window = CWindow(
        input=inp.c,
        output=out.c,
        in_h=inp.height,
        in_w=inp.width,
        out_h=height,
        out_w=width,
        kernel=step.kernel,
        stride=step.stride,
        padding=step.padding,
    )
    return Pooled(out, ctypes.byref(window))
