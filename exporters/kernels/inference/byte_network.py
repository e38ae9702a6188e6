"""A network in INT8 whose convolutions are code generated for their patterns of fours."""

from __future__ import annotations

import struct

import numpy as np

from sparsebench.exporters.kernels.compiled.library import CQuantise, CRegroup, CReturned, Library
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    MaxPoolStep,
    NormStep,
    ResizeStep,
    RowsStep,
)
from sparsebench.exporters.kernels.generated.byte_convolution import ByteConvolution, Steps
from sparsebench.exporters.kernels.generated.memory import LIMIT, no_bytes
from sparsebench.exporters.kernels.inference.byte_values import ByteNetwork
from sparsebench.exporters.kernels.inference.folded_calls import (
    BYTE_MAX_POOL,
    GENERATED,
    MERGE,
    QUANTISE,
    RETURN,
)
from sparsebench.exporters.kernels.inference.folding import Folded
from sparsebench.exporters.kernels.inference.generated_calls import (
    CMerge,
    GeneratedCalls,
    planes_of,
)
from sparsebench.exporters.kernels.inference.generated_network import LEAST, GeneratedNetwork
from sparsebench.exporters.kernels.inference.grouping import Grouped, Grouping, Step
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork


class ByteCalls(GeneratedCalls):
    """As :class:`GeneratedCalls`, for values of bytes: a lane of 32 bits holds four channels."""

    max_pool = BYTE_MAX_POOL
    _network: ByteNetwork

    def _prepare(self, step: Step) -> None:
        if isinstance(step, ResizeStep):
            self._enlarge(step)
        elif isinstance(step, RowsStep):
            self._return(step)
        else:
            super()._prepare(step)

    def _enlarge(self, step: ResizeStep) -> None:
        """Vectors of a place are copied to all that repeat it; pieces stay pieces."""
        group, shapes = self._part.group, self._grouping.shapes
        x, inp, out = self._slot(step.inp), shapes[step.inp, group], shapes[step.out, group]
        block, y, x_ = np.mgrid[: out.fold.blocks, : out.height, : out.width]
        offsets = block * inp.block_stride + y // step.factor * inp.row_stride
        offsets += x_ // step.factor * inp.column_stride
        count = offsets.size
        own = np.arange(out.lanes, 2 * out.lanes)
        tables = [
            np.ascontiguousarray(table, np.int32)
            for table in (
                np.zeros(count),
                offsets.reshape(-1),
                np.broadcast_to(own, (count, out.lanes)),
                out.places().reshape(-1),
            )
        ]
        self._kept_alive += tables
        what = CMerge(
            *(out.channels, inp.channel_stride, out.channel_stride, count, 1),
            *(table.ctypes.data for table in tables),
        )
        self._add("", "Resize", MERGE, what, x, self._new(step.out, out))

    def _return(self, step: RowsStep) -> None:
        x, inp = self._slot(step.inp), self._grouping.shapes[step.inp, self._part.group]
        scale = self._network.bytes.get(step.inp)
        what = CReturned(
            *(step.channels, step.first, inp.fold.blocks),
            *(inp.block_stride, inp.row_stride, inp.column_stride),
            *(inp.fold.images, inp.fold.across, inp.height, inp.width, *inp.plane),
            scale is not None,
            *(scale or (0.0, 0)),
        )
        self._add("", "Rows", RETURN, what, x, self._features())

    def _convolve(self, step: NormStep, inp: Folded, out: Folded, x: int, residual: int) -> None:
        network = self._network
        weights, geometry = network.weights[step.layer]
        own = network.bytes.get(step.out)
        added = None if step.residual is None else network.bytes.get(step.residual)
        steps = Steps(
            step.act,
            None if own is None else own[0],
            0 if own is None else own[1],
            "" if step.residual is None else "floats" if added is None else "bytes",
            *(added or (1.0, 0)),
        )
        borders = self._grouping.border(step, self._part.group) > 0 or not inp.fold.whole
        layer = ByteConvolution(
            weights,
            geometry,
            network.bytes[step.inp][1],
            planes_of(inp, borders),
            planes_of(out),
            steps,
        )
        self.convolutions.append(layer)
        self.multiply_adds[step.layer] = layer.multiply_adds
        y = self._new(step.out, out)
        self._add(step.layer, "NormStep", GENERATED, layer.c, x, y, residual)

    def _outside(self, step: Step) -> float:
        """Bits of four bytes: 0 is the least of all, and else what means zero."""
        scale = self._network.bytes.get(step.inp)
        if scale is None or isinstance(step, MaxPoolStep):
            return 0.0
        found: float = struct.unpack("<f", bytes([scale[1]] * 4))[0]
        return found

    def _regroup(self, value: int, what: CRegroup, first: int, out: int) -> None:
        if value != IMAGES:
            super()._regroup(value, what, first, out)
            return
        step, zero = self._network.bytes[IMAGES]
        made = CQuantise(what, self._network.image_channels, step, zero)
        self._add("", "Regroup", QUANTISE, made, first, out)


class GeneratedBytes(GeneratedNetwork):
    """As :class:`GeneratedNetwork`, of a network in INT8.

    Raises:
        SparsebenchError: a layer or the whole is too large, or the system does not run generated
            code; see :func:`why_no_bytes`.
    """

    def _group(self, network: OnnxNetwork, input_shape: tuple[int, int, int]) -> Grouping:
        return super()._group(network, (1, *input_shape[1:]))

    def _calls_of(self, part: Grouped, threads: int) -> GeneratedCalls:
        assert isinstance(self.network, ByteNetwork)
        return ByteCalls(self.network, self._grouping, part, self.kernels, threads)


def why_no_bytes(network: ByteNetwork, kernels: Library) -> str:
    """Why a network in INT8 cannot run here, or nothing."""
    issued = sum(int(pattern.sum()) for pattern, _, _ in network.layers.values())
    refused = no_bytes(kernels.isa)
    if not refused and issued * LEAST > LIMIT:
        return f"{issued} fours of weights would take more than {LIMIT >> 20} MiB of code."
    return refused
