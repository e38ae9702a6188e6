"""Windows of a maximum pooling as the kernels read them."""

from __future__ import annotations

from typing import Any

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import CWindow
from sparsebench.exporters.kernels.compiled.steps import MaxPoolStep


def pool_window(step: MaxPoolStep, inp: Blocked) -> Any:
    """The window as the kernels read it, without the shape of its output."""

    def size(n: int) -> int:
        return (n + 2 * step.padding - step.kernel) // step.stride + 1

    return CWindow(
        input=inp.c,
        in_h=inp.height,
        in_w=inp.width,
        out_h=size(inp.height),
        out_w=size(inp.width),
        kernel=step.kernel,
        stride=step.stride,
        padding=step.padding,
    )
