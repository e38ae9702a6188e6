"""Which step runs on how many images at once: as few as fill the registers.

Large planes are folded, so that one image or a few fill a register; then the activations of
a run of layers stay in the caches. Each step belongs to a group size, and the sizes grow along
the network, because a step's group is made of whole groups of the steps before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    ResizeStep,
    RowsStep,
)
from sparsebench.exporters.kernels.inference.folded_plan import border_of
from sparsebench.exporters.kernels.inference.folding import LEAST_PIECE, Fold, Folded, folds
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.sizes import Size

Step = NormStep | ActStep | MaxPoolStep | MeanStep | ResizeStep | RowsStep
Key = tuple[int, int]  # a value and the size of the groups in which it is held
_Planes = dict[int, tuple[int, int]]  # value -> (height, width)
_Chosen = tuple[_Planes, dict[int, Fold], dict[int, int]]
# Of each axis: planes that have not so many equal pieces may be padded for generated code, since
# otherwise a few images would fill a fraction of the lanes.
_PIECES = (2, 4)
_TILE = 16  # vectors that a plane (of some blocks) should have
# Bytes of a step's input and output that generated code may read from the third-level cache. Whole
# planes waste no place on borders and code that is fetched once runs on more places, so as many
# images are taken as this allows.
_NEAR = 3_000_000


@dataclass(frozen=True)
class Grouped:
    """Steps that run on groups of one size.

    Attributes:
        group: images.
        steps: in order.
    """

    group: int
    steps: tuple[Step, ...]


class Grouping:
    """A network's steps by the size of their groups, and the shape of every value.

    Args:
        network: what :func:`sparsebench.exporters.kernels.inference.onnx_reader.read_onnx` found.
        batch_size: images of a call.
        input_shape: ``(C, H, W)``.
        lanes: of a vector.
        item_bytes: 4 or 8.
        pixel_major: for generated code: the channels of a place side by side.

    Attributes:
        parts: in the order of execution, the sizes of their groups grow.
        sizes: value -> (channels, height, width) of whole planes.
        shapes: (value, group) -> its shape in that part; the network's output has none.
        made_in: value -> group of the step that writes it; 0 for the images.
        waste: work of generated code as a multiple of what the images' own pixels need.

    Raises:
        SparsebenchError: a step does not fit what it reads.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        batch_size: int,
        input_shape: tuple[int, int, int],
        lanes: int,
        item_bytes: int,
        pixel_major: bool = False,
    ) -> None:
        self._network, self._lanes, self._item = network, lanes, item_bytes
        self._pixel_major = pixel_major
        self._batch, self._blocks = batch_size, -(-batch_size // lanes)
        self.sizes: dict[int, Size] = {IMAGES: input_shape}
        self._steps: list[Step] = []
        for step in network.steps:
            assert not isinstance(step, ConvStep)
            self.sizes[step.out] = network.size_after(step, self.sizes)
            self._steps.append(step)
        planes = [{value: size[1:] for value, size in self.sizes.items()}]
        if pixel_major:
            planes += [found for pieces in _PIECES if (found := self._padded(pieces))]
        self._planes, self._folds, self.made_in = min(map(self._choose, planes), key=self._total)
        chosen: dict[int, list[Step]] = {}
        for step in self._steps:
            chosen.setdefault(self.made_in[step.out], []).append(step)
        # Inputs belong to groups of at most the step's size, so this order is one of execution.
        self.parts = [Grouped(group, tuple(chosen[group])) for group in sorted(chosen)]
        self.shapes = self._shapes()
        self.waste = self._total((self._planes, self._folds, self.made_in)) / self._total(None)

    def _padded(self, pieces: int) -> _Planes:
        """Planes enlarged so that each axis has so many equal pieces; nothing if there are none."""
        scale = {IMAGES: 1}
        for step in self._steps:
            stride = self._stride(step)
            scale[step.out] = scale[step.inp] * stride[0]
            if isinstance(step, ResizeStep):
                scale[step.out], rest = divmod(scale[step.inp], step.factor)
                if rest:
                    return {}
            one = step.residual is None or scale[step.residual] == scale[step.out]
            if stride[0] != stride[1] or not one:
                return {}
        most = max(scale.values())
        least = [
            max(-(-self.sizes[v][1 + i] * n // most) for v, n in scale.items()) for i in (0, 1)
        ]
        deepest = [-(-size // pieces) * pieces for size in least]
        if any(most % n for n in scale.values()):
            return {}
        return {v: (deepest[0] * most // n, deepest[1] * most // n) for v, n in scale.items()}

    def _choose(self, planes: _Planes) -> _Chosen:
        """A fold for each step, and the group in which each value is made."""
        self._planes, self._folds, self.made_in = planes, {}, {IMAGES: 0}
        for step in self._steps:
            fold = self._fold(step)
            self.made_in[step.out] = fold.group
            self._folds[fold.group] = fold
        return planes, self._folds, self.made_in

    def _total(self, chosen: _Chosen | None) -> float:
        """What the convolutions of a call take, about; of equals the first is chosen. Without a
        choice: as if all lanes could be filled."""
        total = 0.0
        for step in self._steps:
            if not isinstance(step, NormStep):
                continue
            if chosen:
                self._planes, folds, made_in = chosen
                cost = self._cost(step, folds[made_in[step.out]])
            else:
                cost = 1 + self._batch * math.prod(self.sizes[step.out][1:]) / self._lanes
            total += np.count_nonzero(self._network.layers[step.layer][0]) * cost
        return max(total, 1.0)

    def _plane(self, value: int, fold: Fold) -> tuple[int, int]:
        """(height, width) of what is cut into pieces."""
        return self.sizes[value][1:] if fold.whole else self._planes[value]

    def _fold(self, step: Step) -> Fold:
        if isinstance(step, RowsStep):
            return self._folds[self.made_in[step.inp]]
        values = [v for v in (step.inp, step.residual) if v is not None]
        least = max(self.made_in[v] for v in values)
        out = self.sizes[step.out][1:]
        fitting = [
            fold
            for fold in folds(self._lanes)
            if fold.group >= min(least, self._lanes) and self._can(step, fold)
        ]
        fold = fitting[0]
        most = _TILE // (out[0] * out[1])  # blocks
        if self._pixel_major:
            image = sum(self._item * math.prod(self.sizes[v]) for v in (step.inp, step.out))
            near = [fold for fold in fitting if fold.images * image <= _NEAR]
            fold = min(reversed(near), key=partial(self._cost, step)) if near else fold
            most = _NEAR // (self._lanes * image)
        if fold.whole:
            blocks = 1
            while 2 * blocks <= most and self._blocks % (2 * blocks) == 0:
                blocks *= 2
            fold = replace(fold, blocks=max(blocks, least // self._lanes))
        return fold

    def _cost(self, step: Step, fold: Fold) -> float:
        """Sweeps over a layer's code on one place, in a call: one more is the way to fetch it."""
        inp, out = self._plane(step.inp, fold), self._plane(step.out, fold)
        places = math.prod(out) * fold.images / self._lanes
        if fold.whole and isinstance(step, NormStep):  # taps on the border's padding are skipped
            geometry = self._network.layers[step.layer][2]
            axes = (geometry.forward_axis(i, inp[i], out[i]) for i in range(2))
            places *= math.prod(axis.seen() for axis in axes)
        return -(-self._batch // fold.group) * (1 + places * fold.blocks)

    def _stride(self, step: Step) -> tuple[int, int]:
        if isinstance(step, NormStep):
            return self._network.layers[step.layer][2].stride
        return (step.stride, step.stride) if isinstance(step, MaxPoolStep) else (1, 1)

    def window(self, step: NormStep | MaxPoolStep) -> int:
        """Places along an axis that one of the output is made of, at most."""
        if isinstance(step, NormStep):
            return max(self._network.layers[step.layer][2].kernel)
        return step.kernel

    def _can(self, step: Step, fold: Fold) -> bool:
        if fold.whole:
            return True
        inp, out = self._plane(step.inp, fold), self._plane(step.out, fold)
        stride = self._stride(step)
        least = 1 if self._pixel_major else LEAST_PIECE
        if isinstance(step, ResizeStep):
            return fold.fits(inp, out, step.factor, least)
        if stride[0] != stride[1] or not fold.fits(out, inp, stride[0], least):
            return False
        piece = (inp[0] // fold.down, inp[1] // fold.across)
        return self._border(step, fold) <= min(piece)

    def _border(self, step: Step, fold: Fold) -> int:
        """Places around each piece of its input that a step reads in memory."""
        if fold.whole and not self._network.needs_border(step.inp):
            return 0
        inp, out = (
            (plane[0] // fold.down, plane[1] // fold.across)
            for plane in (self._plane(step.inp, fold), self._plane(step.out, fold))
        )
        if isinstance(step, NormStep):
            return border_of(self._network.layers[step.layer][2], inp, out)
        if isinstance(step, MaxPoolStep):
            ends = [(o - 1) * step.stride + step.kernel - step.padding for o in out]
            return max(step.padding, *(e - i for e, i in zip(ends, inp, strict=True)))
        return 0

    def border(self, step: Step, group: int) -> int:
        """Places around each piece of its input that a step of a group reads."""
        return self._border(step, self._folds[group])

    def _shapes(self) -> dict[Key, Folded]:
        halo: dict[Key, int] = {}
        alike: list[tuple[Key, ...]] = []  # must have one layout
        for part in self.parts:
            for step in part.steps:
                key, out = (step.inp, part.group), (step.out, part.group)
                halo[key] = max(halo.get(key, 0), self.border(step, part.group))
                if isinstance(step, MeanStep | RowsStep):
                    continue
                halo.setdefault(out, 0)
                same = [out] if step.residual is None else [out, (step.residual, part.group)]
                alike.append((*same, key) if isinstance(step, ActStep) else tuple(same))
        done = False
        while not done:
            done = True
            for keys in alike:
                most = max(halo.get(key, 0) for key in keys)
                done = done and all(halo.get(key) == most for key in keys)
                halo.update(dict.fromkeys(keys, most))
        shapes = {}
        for (value, group), border in halo.items():
            fold = self._folds[group]
            channels, *plane = self.sizes[value]
            height, width = self._plane(value, fold)
            piece = (height // fold.down, width // fold.across)
            shapes[value, group] = Folded(
                *(fold, channels, *piece, (plane[0], plane[1]), border),
                *(self._lanes, self._item, self._pixel_major),
            )
        return shapes
