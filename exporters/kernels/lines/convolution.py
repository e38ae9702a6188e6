"""One convolution over lines as generated code."""

from __future__ import annotations

import numpy as np

from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated.convolution import GeneratedPattern, Planes
from sparsebench.exporters.kernels.lanes.steps import LayerStep
from sparsebench.exporters.kernels.lines.layout import LANES, Plane, Taps


class LineConvolution(GeneratedPattern):
    """``y = act(conv(x) + bias + residual)``, 16 neighbouring pixels at once.

    What it computes between rows is garbage until zeros are written there.

    Args:
        step: the layer.
        taps: of the layer; its input holds each channel's phases one after the other.
        plane: of one channel of the input (of one phase) and of the output.

    Raises:
        SparsebenchError: a tensor is larger than the code can address.
    """

    def __init__(self, step: LayerStep, taps: Taps, plane: Plane) -> None:
        geometry, kept = step.geometry, step.weight != 0
        pattern = Pattern.of(kept, geometry.groups)
        shifts, phases = taps.shifts, len(taps.phases)
        rows, columns = geometry.kernel
        tap, phase = np.zeros((2, rows, columns), np.int64)
        for (i, j), (number, *shift) in taps.of.items():
            tap[i, j], phase[i, j] = shifts.index((shift[0], shift[1])), number
        vectors = plane.body // LANES
        line = Planes(*(1, vectors, vectors, 1, True, 1), vectors, channel=plane.channel // LANES)
        super().__init__(
            (pattern.out, pattern.inp * phases + phase[pattern.ky, pattern.kx],
             tap[pattern.ky, pattern.kx]),
            (geometry.out_channels, geometry.in_channels * phases),
            [(0, 0)] * len(shifts),
            (1, 1),
            line,
            line,
            step.act,
            step.residual is not None,
            offsets=tuple(4 * (y * plane.pitch + x) for y, x in shifts),
        )  # fmt: skip
        self.code.fill(self.stream, step.weight[kept], step.bias)
