"""The calls of one part of a network whose convolutions are generated code."""

from __future__ import annotations

from ctypes import Structure, c_int64, c_void_p

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.compiled.steps import IMAGES, NormStep
from sparsebench.exporters.kernels.generated.convolution import (
    GeneratedConvolution,
    GeneratedPattern,
    Planes,
)
from sparsebench.exporters.kernels.inference.folded_calls import GENERATED, MERGE, PartCalls
from sparsebench.exporters.kernels.inference.folding import Folded
from sparsebench.exporters.kernels.inference.grouping import Grouped, Grouping
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork


class CMerge(Structure):
    """``Merge`` of folded.h."""

    _fields_ = (
        ("channels", c_int64),
        ("from_channel", c_int64),
        ("to_channel", c_int64),
        ("places", c_int64),
        ("count", c_int64),
        ("which", c_void_p),
        ("offsets", c_void_p),
        ("lanes", c_void_p),
        ("to", c_void_p),
    )


class GeneratedCalls(PartCalls):
    """As :class:`PartCalls`, for tensors of pixel-major layout.

    Attributes:
        convolutions: whose code must be placed before the calls can run.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        grouping: Grouping,
        part: Grouped,
        kernels: Library,
        threads: int,
    ) -> None:
        self.convolutions: list[GeneratedPattern] = []
        super().__init__(network, grouping, part, kernels, threads)

    def _convolve(self, step: NormStep, inp: Folded, out: Folded, x: int, residual: int) -> None:
        weight, bias, geometry = self._network.layers[step.layer]
        layer = GeneratedConvolution(
            weight, bias, geometry, planes_of(inp), planes_of(out), step.act, residual >= 0
        )
        self.convolutions.append(layer)
        self.multiply_adds[step.layer] = layer.multiply_adds
        y = self._new(step.out, out)
        self._add(step.layer, "NormStep", GENERATED, layer.c, x, y, residual)

    def _gather(self, value: int, into: int, stride: int = 1) -> None:
        """As for other kernels, but whole vectors at once: an image's pieces stay together."""
        if value == IMAGES:
            super()._gather(value, into, stride)
            return
        group, grouping = self._part.group, self._grouping
        shape = grouping.shapes[into, group]
        before = grouping.made_in[value]
        source = grouping.shapes[value, before]
        first = self._given(value, group // before)
        if source.fold.whole and shape.fold.whole and stride == 1 and source.halo == shape.halo:
            self._slot_of[value] = first  # groups lie one after the other: they are its blocks
            return
        image, y, x = shape.pixel()
        image = np.arange(shape.fold.blocks)[:, None, None] * shape.fold.images + image
        image, y, x = np.broadcast_arrays(image, y * stride, x * stride)
        offsets = source.locate(y, x, image % before).reshape(-1, shape.lanes)
        tables = _merged((image // before).reshape(-1, shape.lanes), offsets, shape.lanes)
        places = np.ascontiguousarray(shape.places().reshape(-1))
        self._kept_alive += [*tables, places]
        what = CMerge(
            shape.channels,
            source.channel_stride,
            shape.channel_stride,
            len(places),
            tables[0].shape[1],
            *(table.ctypes.data for table in tables),
            places.ctypes.data,
        )
        self._add("", "Regroup", MERGE, what, first, self._new(into, shape))


def planes_of(shape: Folded, borders: bool | None = None) -> Planes:
    """A tensor as generated code sees it.

    Args:
        shape: pixel-major.
        borders: whether memory holds what lies outside of the planes; as folds do by default.
    """
    return Planes(
        shape.height,
        shape.width,
        shape.row_stride // shape.lanes,
        shape.column_stride // shape.lanes,
        not shape.fold.whole if borders is None else borders,
        shape.fold.blocks,
        shape.block_stride // shape.lanes,
    )


def _merged(
    which: NDArray[np.int64], offsets: NDArray[np.int64], lanes: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The vectors that hold the lanes of each place.

    Args:
        which: ``[places, lanes]``: source of each lane.
        offsets: the same shape: element in the source.
        lanes: of a vector.

    Returns:
        Source and offset of each vector ``[places, vectors]``, and ``[places, vectors, lanes]``:
        the lane that is taken, from `lanes` on, or the own one where another vector has it.
    """
    key = which << 32 | offsets // lanes
    ranked = np.sort(key, 1)
    fresh = np.ones(ranked.shape, np.bool_)
    fresh[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    count = int(fresh.sum(1).max())
    # Places of fewer vectors take their last one again.
    rank = np.cumsum(fresh, 1) - 1
    vectors = np.repeat(ranked[:, -1:], count, 1)
    np.put_along_axis(vectors, rank, ranked, 1)
    taken = key[:, None, :] == vectors[:, :, None]
    found = np.where(taken, lanes + (offsets % lanes)[:, None, :], np.arange(lanes))
    source, offset = vectors >> 32, (vectors & 0xFFFFFFFF) * lanes
    return tuple(np.ascontiguousarray(a, np.int32) for a in (source, offset, found))  # type: ignore[return-value]
