"""The calls of one part of a network, as the kernels read them, and where their memory lies."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparsebench.exporters.kernels.compiled.library import (
    CCall,
    CFoldedMean,
    CFoldedPool,
    CHalo,
    CRegroup,
    CShape,
    Library,
)
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
)
from sparsebench.exporters.kernels.inference.folded_plan import folded_plan
from sparsebench.exporters.kernels.inference.folding import Folded, border_moves
from sparsebench.exporters.kernels.inference.grouping import Grouped, Grouping, Step
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork

_CONVOLVE, _HALO, _REGROUP, _MAX_POOL, _MEAN, _ACT, GENERATED, MERGE = range(8)
QUANTISE, BYTE_MAX_POOL, RETURN = 8, 9, 10
_LINE = 64
_SWEPT = 700_000  # bytes


@dataclass
class Slots:
    """What the addresses of a part's table stand for.

    Attributes:
        memory: slot -> offset in the worker's own memory, bytes.
        made: slot -> value that later parts read.
        given: slot -> (value of an earlier part, which of its groups, counted in this group).
        features: first slot of the images' features, or None.
        count: of all slots.
    """

    memory: dict[int, int] = field(default_factory=dict)
    made: dict[int, int] = field(default_factory=dict)
    given: dict[int, tuple[int, int]] = field(default_factory=dict)
    features: int | None = None
    count: int = 0

    def take(self, count: int = 1) -> int:
        """The first of some new slots."""
        self.count += count
        return self.count - count


class _Memory:
    """Offsets for tensors that do not live at the same time; the lowest that is free."""

    def __init__(self) -> None:
        self.size = 0
        self._used: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        size = -(-size // _LINE) * _LINE
        first = 0
        for begin, end in sorted(self._used):
            if first + size <= begin:
                break
            first = max(first, end)
        self._used.append((first, first + size))
        self.size = max(self.size, first + size)
        return first

    def give(self, first: int) -> None:
        self._used = [span for span in self._used if span[0] != first]


class PartCalls:
    """The calls for one group of images.

    Args:
        network: what is compiled.
        grouping: of its steps.
        part: that is compiled.
        kernels: the compiled library.
        threads: that share each call.

    Attributes:
        calls: in order.
        names: (layer or nothing, kind) of each.
        slots: of the table of addresses.
        bytes: memory of each worker.
        multiply_adds: of vectors in each convolution.
    """

    max_pool = _MAX_POOL

    def __init__(
        self,
        network: OnnxNetwork,
        grouping: Grouping,
        part: Grouped,
        kernels: Library,
        threads: int,
    ) -> None:
        self._network, self._grouping, self._part = network, grouping, part
        self._kernels, self._threads = kernels, threads
        self._dtype = np.dtype(kernels.dtype)
        self._list: list[CCall] = []
        self._kept_alive: list[object] = []
        self._slot_of: dict[int, int] = {}
        self._borders: dict[int, tuple[int, float]] = {}  # value -> what its border holds
        self._memory = _Memory()
        self._offset: dict[int, int] = {}  # of the values that are held
        self.names: list[tuple[str, str]] = []
        self.slots = Slots()
        self.multiply_adds: dict[str, int] = {}
        last = {v: i for i, step in enumerate(part.steps) for v in (step.inp, step.residual)}
        for i, step in enumerate(part.steps):
            self._prepare(step)
            for value in {step.inp, step.residual, step.out}:
                if value in self._offset and last.get(value, i) <= i:
                    self._memory.give(self._offset.pop(value))
        self.calls = (CCall * len(self._list))(*self._list)
        self.bytes = self._memory.size

    def _prepare(self, step: Step) -> None:
        group, shapes = self._part.group, self._grouping.shapes
        thins = isinstance(step, MaxPoolStep) and (step.kernel, step.padding) == (1, 0)
        if thins and step.inp not in self._slot_of:  # only what is needed is gathered
            assert isinstance(step, MaxPoolStep)
            self._gather(step.inp, step.out, step.stride)
            return
        inp = shapes[step.inp, group]
        x = self._slot(step.inp)
        residual = -1 if step.residual is None else self._slot(step.residual)
        name = step.layer if isinstance(step, NormStep) else ""
        kind = type(step).__name__
        reads_others = isinstance(step, NormStep | MaxPoolStep) and self._grouping.window(step) > 1
        if self._grouping.border(step, group) or (
            inp.padded and (reads_others or isinstance(step, MeanStep))
        ):
            self._fill_border(step.inp, x, inp, self._outside(step), (name, kind))
        if isinstance(step, MeanStep):
            features = self._features()
            what = CFoldedMean(
                inp.channels,
                inp.channel_stride,
                inp.fold.blocks,
                inp.block_stride,
                inp.row_stride,
                inp.column_stride,
                inp.height,
                inp.width,
                inp.fold.images,
                math.prod(inp.plane),
            )
            self._add(name, kind, _MEAN, what, x, features)
            return
        out = shapes[step.out, group]
        if isinstance(step, NormStep):
            self._convolve(step, inp, out, x, residual)
            return
        y = self._new(step.out, out)
        if isinstance(step, ActStep):
            number, vectors, distance = inp.lines
            shape = CShape(number, 1, vectors, distance, group)
            self._add(name, kind, _ACT, shape, x, y, residual, act=step.act)
            return
        assert isinstance(step, MaxPoolStep)
        border = self._grouping.border(step, group)
        window = CFoldedPool(
            inp.channels,
            inp.fold.blocks,
            inp.channel_stride,
            inp.block_stride,
            inp.row_stride,
            inp.column_stride,
            out.channel_stride,
            out.block_stride,
            out.row_stride,
            out.column_stride,
            -border,
            inp.height + border,
            -border,
            inp.width + border,
            out.height,
            out.width,
            step.kernel,
            step.stride,
            step.padding,
        )
        self._add(name, kind, self.max_pool, window, x, y)

    def _outside(self, step: Step) -> float:
        """What a step reads outside of the planes."""
        return -np.inf if isinstance(step, MaxPoolStep) else 0.0

    def _convolve(self, step: NormStep, inp: Folded, out: Folded, x: int, residual: int) -> None:
        weight, bias, geometry = self._network.layers[step.layer]
        plan = folded_plan(
            Pattern.of(weight != 0, geometry.groups),
            geometry,
            inp,
            out,
            threads=self._threads,
            most=self._kernels.most_forward,
            most_alike=self._kernels.most_alike,
        )
        plan.entries["weight"] = weight[weight != 0][plan.order]
        self.multiply_adds[step.layer] = plan.multiply_adds
        own = None
        if bias is not None:  # one for each row of the plan: of a place, where they are unrolled
            own = np.repeat(bias, plan.c.rows // len(bias)).astype(self._dtype)
        self._kept_alive += [plan, own]
        kernels = self._kernels
        convolve = kernels.forward2 if plan.c.stride == 2 else kernels.forward1
        y = self._new(step.out, out)
        place = None if own is None else own.ctypes.data
        self._add(
            step.layer,
            "NormStep",
            _CONVOLVE,
            plan.c,
            x,
            y,
            residual,
            act=step.act,
            bias=place,
            convolve=ctypes.cast(convolve, ctypes.c_void_p).value,
        )

    def _features(self) -> int:
        """The first of the slots of the images' own rows of what is returned."""
        if self.slots.features is None:
            self.slots.features = self.slots.take(self._part.group)
        return self.slots.features

    def _slot(self, value: int) -> int:
        """Where a value is; one of an earlier part is gathered first."""
        if value not in self._slot_of:
            self._gather(value, value)
        return self._slot_of[value]

    def _given(self, value: int, count: int) -> int:
        """The first of the slots of an earlier part's value, one for each of its groups."""
        first = self.slots.take(count)
        self.slots.given |= {first + i: (value, i) for i in range(count)}
        return first

    def _gather(self, value: int, into: int, stride: int = 1) -> None:
        """Every `stride`-th row and column of an earlier part's value becomes one of this part."""
        group, grouping = self._part.group, self._grouping
        shape = grouping.shapes[into, group]
        before = grouping.made_in[value] or 1
        first = self._given(value, group // before)
        image, y, x = shape.pixel()
        y, x = y * stride, x * stride
        images = np.arange(shape.fold.blocks)[:, None] * shape.fold.images + image
        within = np.broadcast_to((images % before)[:, None, :], (len(images), *y.shape))
        if value == IMAGES:
            _, height, width = grouping.sizes[value]
            # What lies outside of the plane is any pixel until a border is filled.
            y, x = np.minimum(y, height - 1), np.minimum(x, width - 1)
            offsets, channel = np.broadcast_to(y * width + x, within.shape), height * width
        else:
            source = grouping.shapes[value, before]
            offsets, channel = source.locate(y, x, within), source.channel_stride
        # As much as the second-level cache keeps until it is gathered.
        count, size = group // before, channel * shape.channels
        if value != IMAGES:
            size = (source.bytes // source.item_bytes) - source.lead
        sweep = size if count * size * shape.item_bytes <= _SWEPT else 0
        tables = [
            np.ascontiguousarray(table, np.int32)
            for table in (images // before, offsets, shape.places())
        ]
        self._kept_alive += tables
        what = CRegroup(
            shape.channels,
            channel,
            shape.channel_stride,
            shape.fold.blocks,
            shape.height * shape.width,
            *(table.ctypes.data for table in tables),
            count,
            sweep,
            shape.width if value == IMAGES and stride == 1 and not shape.padded else 0,
        )
        self._regroup(value, what, first, self._new(into, shape))

    def _regroup(self, value: int, what: CRegroup, first: int, out: int) -> None:
        self._add("", "Regroup", _REGROUP, what, first, out)

    def _new(self, value: int, shape: Folded) -> int:
        slot = self._slot_of[value] = self.slots.take()
        crosses = self._grouping.made_in[value] == self._part.group and any(
            value in (step.inp, step.residual)
            for part in self._grouping.parts
            if part.group > self._part.group
            for step in part.steps
        )
        if crosses:
            self.slots.made[slot] = value
        else:
            self._offset[value] = self._memory.take(shape.bytes)
            self.slots.memory[slot] = self._offset[value] + shape.lead * shape.item_bytes
        return slot

    def _fill_border(
        self, value: int, slot: int, shape: Folded, fill: float, name: tuple[str, str]
    ) -> None:
        if self._borders.get(value) == (slot, fill):
            return
        self._borders[value] = (slot, fill)
        moves, permutations = border_moves(shape)
        self._kept_alive += [moves, permutations]
        what = CHalo(
            shape.channels,
            shape.channel_stride,
            len(moves),
            moves.ctypes.data,
            permutations.ctypes.data,
        )
        self._add(*name, _HALO, what, -1, slot, fill=fill)

    def _add(
        self,
        name: str,
        kind: str,
        code: int,
        what: ctypes.Structure,
        inp: int,
        out: int,
        residual: int = -1,
        **more: Any,
    ) -> None:
        self._kept_alive.append(what)
        self.names.append((name, kind))
        call = CCall(code, more.get("act", 0), inp, out, residual, ctypes.addressof(what))
        call.bias, call.fill = more.get("bias"), more.get("fill", 0.0)
        call.convolve = more.get("convolve")
        self._list.append(call)
