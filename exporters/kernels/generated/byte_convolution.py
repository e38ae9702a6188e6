"""One convolution of bytes as generated code."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import RELU6
from sparsebench.exporters.kernels.generated.byte_sums import FOUR, Finish, byte_stream, kind_of
from sparsebench.exporters.kernels.generated.convolution import GeneratedPattern, Planes
from sparsebench.models.errors import SparsebenchError

_LARGEST = 255
_INT32 = 2**31 - 1
# No byte stands for as much; beyond 2**31 a value would turn into a negative one.
_CAP = 2.0**16


def fours(channels: int) -> int:
    """Vectors that hold so many channels of bytes at a place."""
    return -(-channels // FOUR)


@dataclass(frozen=True)
class ByteWeights:
    """A convolution's weights and what its sums begin with, channels filled up to fours.

    Attributes:
        weight: ``[O, C, kh, kw]``, int8, groups written out; O and C multiples of four.
        bias: ``[O]``, int32: the layer's less what the input's zero point adds to the sums.
        scale: ``[O]``, float32: value of one step of a sum.
        low: ``[O]``, int64: no sum is less.
        high: ``[O]``, int64: no sum is more.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scale: NDArray[np.float32]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @staticmethod
    def of(
        weight: NDArray[np.int8],
        bias: NDArray[np.integer],
        scale: NDArray[np.float32],
        geometry: Geometry,
        zero_point: int,
    ) -> ByteWeights:
        """Prepare a layer.

        Args:
            weight: ``[O, C / groups, kh, kw]``.
            bias: ``[O]``.
            scale: ``[O]``.
            geometry: of the convolution.
            zero_point: byte of the input that means zero, 0-255.

        Raises:
            SparsebenchError: a sum of the layer can leave the range of int32.
        """
        count, inner = geometry.out_channels, weight.shape[1]
        outer = count // geometry.groups
        shape = (FOUR * fours(count), FOUR * fours(geometry.in_channels), *geometry.kernel)
        whole = np.zeros(shape, np.int8)
        for group in range(geometry.groups):
            outs = slice(group * outer, (group + 1) * outer)
            whole[outs, group * inner : (group + 1) * inner] = weight[outs]
        flat = whole.reshape(len(whole), -1)
        biases = np.zeros(len(whole), np.int64)
        biases[:count] = bias
        biases -= zero_point * flat.sum(1, np.int64)
        low = biases + _LARGEST * np.minimum(flat, 0).sum(1, np.int64)
        high = biases + _LARGEST * np.maximum(flat, 0).sum(1, np.int64)
        if max(high.max(), -low.min()) > _INT32:
            raise SparsebenchError(
                f"A sum of {int(np.count_nonzero(flat, 1).max())} products of bytes can leave the "
                "range of 32 bits.",
                "Run it in fp32.",
            )
        scales = np.ones(len(whole), np.float32)
        scales[:count] = scale
        return ByteWeights(whole, biases.astype(np.int32), scales, low, high)

    def pattern(self) -> NDArray[np.bool_]:
        """``[O, C / 4, kh, kw]``: which fours hold a weight that is not zero."""
        out, _, *kernel = self.weight.shape
        return np.asarray(self.weight.reshape(out, -1, FOUR, *kernel).any(2))


@dataclass(frozen=True)
class Steps:
    """What turns sums into outputs.

    Attributes:
        act: activation, see :mod:`exporters.kernels.library`.
        out_step: of the output's bytes; None where floats are stored.
        out_zero: the output's byte that means zero.
        residual: ``bytes``, ``floats`` or nothing.
        residual_step: of the residual's bytes.
        residual_zero: the residual's byte that means zero.
    """

    act: int
    out_step: float | None = None
    out_zero: int = 0
    residual: str = ""
    residual_step: float = 1.0
    residual_zero: int = 0


class ByteConvolution(GeneratedPattern):
    """``y = act((sums - those of the zero points) * scale + residual)``, rounded where it is bytes.

    Sums are exact; scales are float32, and values are rounded to the nearest byte, halves to the
    even one, as ONNX's QuantizeLinear does; the scale of the output divides the others
    beforehand, so that a value can be one byte off where it is within float32 rounding of a half.

    Args:
        layer: weights.
        geometry: of the convolution.
        zero_point: byte of the input that means zero, 0-255.
        inp: shape of the input, whose channels are fours.
        out: shape of the output, whose channels are fours of bytes or floats. A residual of the
            other kind has the same shape with four times the vectors or a fourth of them.
        steps: what becomes of the sums.

    Raises:
        SparsebenchError: a tensor or the window is larger than the code can address.
    """

    def __init__(
        self,
        layer: ByteWeights,
        geometry: Geometry,
        zero_point: int,
        inp: Planes,
        out: Planes,
        steps: Steps,
    ) -> None:
        unit = 1.0 if steps.out_step is None else steps.out_step
        added = steps.residual_step / unit
        shift = -steps.residual_zero * added if steps.residual == "bytes" else 0.0
        # What a float residual holds is not known beforehand.
        most = float((np.abs([layer.low, layer.high]).max(0) * layer.scale).max()) / unit
        far = steps.residual == "floats" or most + _LARGEST * (added + 2) > _INT32
        cap = 6.0 / unit if steps.act == RELU6 else _CAP
        finish = Finish(
            steps.act,
            steps.out_step is not None,
            steps.out_zero,
            steps.residual,
            shift != 0,
            steps.out_step is not None and far,
        )
        pattern = layer.pattern()
        outs, ins, ky, kx = np.nonzero(pattern)
        rows, columns = (geometry.forward_axis(axis, 1, 1).shifts for axis in range(2))
        super().__init__(
            (outs, ins, ky * geometry.kernel[1] + kx),
            pattern.shape[:2],
            list(itertools.product(rows, columns)),
            geometry.stride,
            inp,
            out,
            steps.act,
            bool(steps.residual),
            kind=kind_of(finish),
        )
        assert zero_point == 0 or inp.borders or self.all_seen
        weights = layer.weight.reshape(len(pattern), -1, FOUR, *geometry.kernel)
        self.stream = byte_stream(
            self.code,
            np.moveaxis(weights, 2, 4)[pattern],
            layer.bias,
            (layer.scale / unit).astype(np.float32),
            added if steps.residual == "bytes" else 1.0 / unit,
            shift,
            cap,
            steps.out_zero,
        )
        self.c.weights = self.stream.ctypes.data
