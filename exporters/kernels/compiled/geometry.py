"""What a convolution is, apart from its weights."""

from __future__ import annotations

from dataclasses import dataclass

from sparsebench.exporters.kernels.compiled.tiling import Axis
from sparsebench.models.errors import SparsebenchError


@dataclass(frozen=True)
class Geometry:
    """Shape of a 2-d convolution; a linear layer is one of 1x1 over planes of 1x1.

    Attributes:
        out_channels: O.
        in_channels: C, of all groups together.
        kernel: (height, width).
        stride: (vertical, horizontal).
        padding: zeros added (above, left, below, right).
        dilation: (vertical, horizontal).
        groups: O and C are multiples of it.
    """

    out_channels: int
    in_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """``[O, C / groups, kh, kw]``."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of the output.

        Raises:
            SparsebenchError: the image is smaller than the kernel.
        """
        top, left, below, right = self.padding
        out = []
        for size, pads, axis in ((height, top + below, 0), (width, left + right, 1)):
            reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
            out.append((size + pads - reach) // self.stride[axis] + 1)
        if min(out) < 1:
            raise SparsebenchError(
                f"A plane of {height}x{width} is too small for a kernel of "
                f"{self.kernel[0]}x{self.kernel[1]}.",
                "Take larger images.",
            )
        return out[0], out[1]

    def forward_axis(self, axis: int, in_size: int, out_size: int) -> Axis:
        """Outputs in registers: output i meets input ``stride * i + dilation * k - padding``."""
        shifts = tuple(
            self.dilation[axis] * k - self.padding[axis] for k in range(self.kernel[axis])
        )
        return Axis(out_size, in_size, self.stride[axis], shifts)

    def backward_axis(self, axis: int, in_size: int, out_size: int, phase: int) -> Axis:
        """Inputs ``phase + stride * i`` in registers: they meet output ``i + shift``.

        Only the taps of :meth:`phase_taps` reach this phase; shifts are in their order.
        """
        stride = self.stride[axis]
        own = len(range(phase, in_size, stride))
        shifts = tuple(
            (phase + self.padding[axis] - self.dilation[axis] * k) // stride
            for k in self.phase_taps(axis, phase)
        )
        return Axis(own, out_size, 1, shifts)

    def phase_taps(self, axis: int, phase: int) -> list[int]:
        """Taps that connect inputs of this phase (position modulo stride) with outputs."""
        return [
            k
            for k in range(self.kernel[axis])
            if (phase + self.padding[axis] - self.dilation[axis] * k) % self.stride[axis] == 0
        ]
