"""A layer whose pattern of non-zeros is read, where no code is generated for it."""

from __future__ import annotations

import itertools

import numpy as np

from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated.convolution import PLACE
from sparsebench.exporters.kernels.lanes.library import CSparse
from sparsebench.exporters.kernels.lanes.steps import LayerStep


class PatternCall:
    """A layer's C form.

    Attributes:
        c: the structure.
        multiply_adds: of vectors, for one call.
    """

    def __init__(self, step: LayerStep, vector: int) -> None:
        geometry, inp, out = step.geometry, step.inp, step.out
        pattern = Pattern.of(step.weight != 0, geometry.groups)
        rows, columns = (geometry.forward_axis(axis, 1, 1).shifts for axis in range(2))
        dy, dx = np.array(list(itertools.product(rows, columns)), np.int64).reshape(-1, 2).T
        tap = pattern.ky * geometry.kernel[1] + pattern.kx
        order = np.argsort(pattern.out, kind="stable")
        offsets = pattern.inp * inp.strides[0] + dy[tap] * inp.strides[1] + dx[tap] * inp.strides[2]
        y, x = np.mgrid[: out.shape[1], : out.shape[2]].reshape(2, -1)
        places = np.zeros(len(y), PLACE)
        places["out"] = vector * (y * out.strides[1] + x * out.strides[2])
        y, x = y * geometry.stride[0], x * geometry.stride[1]
        places["inp"] = vector * (y * inp.strides[1] + x * inp.strides[2])
        y, x = y[:, None] + dy, x[:, None] + dx
        seen = (y >= 0) & (y < inp.shape[1]) & (x >= 0) & (x < inp.shape[2])
        if not seen.all():
            bits = np.uint64(1) << np.arange(len(dy), dtype=np.uint64)
            places["bits"] = (seen * bits).sum(1, dtype=np.uint64)
        counts = np.bincount(pattern.out, minlength=geometry.out_channels)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        weights = np.ascontiguousarray(step.weight[step.weight != 0][order])
        taps = np.ascontiguousarray(tap[order], np.int32)
        offsets = np.ascontiguousarray(vector * offsets[order], np.int64)
        bias = None if step.bias is None else np.ascontiguousarray(step.bias, np.float32)
        self._kept = (starts, offsets, taps, weights, bias, places)
        self.c = CSparse(
            geometry.out_channels, vector * inp.strides[0], vector * out.strides[0],
            *(array.ctypes.data for array in (starts, offsets, taps, weights)),
            None if bias is None else bias.ctypes.data, places.ctypes.data, len(places),
            step.act, int(seen.all()),
        )  # fmt: skip
        per_tap = np.bincount(tap, minlength=len(dy))
        self.multiply_adds = int((per_tap * seen.sum(0)).sum())
