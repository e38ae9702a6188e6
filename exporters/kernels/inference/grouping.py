"""Which step runs on how many pictures at once: as few as fill the registers.

Large planes are folded, so that one picture or a few fill a register; then the activations of
a run of layers stay in the caches. Each step belongs to a group size, and the sizes grow along
the network, because a step's group is made of whole groups of the steps before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sparsebench.exporters.kernels.compiled.steps import (
    PICTURES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
)
from sparsebench.exporters.kernels.inference.folded_plan import border_of
from sparsebench.exporters.kernels.inference.folding import Fold, Folded, folds
from sparsebench.exporters.kernels.inference.onnx_reader import OnnxNetwork
from sparsebench.exporters.kernels.inference.sizes import Size, size_after

Step = NormStep | ActStep | MaxPoolStep | MeanStep
Key = tuple[int, int]  # a value and the size of the groups in which it is held
_TILE = 16  # vectors that a plane (of some blocks) should have
# Bytes of a step's input and output that generated code may read from the third-level cache. Whole
# planes waste no place on borders and code that is fetched once runs on more places, so as many
# images are taken as this allows.
_NEAR = 3_000_000


@dataclass(frozen=True)
class Grouped:
    """Steps that run on groups of one size.

    Attributes:
        group: pictures.
        steps: in order.
    """

    group: int
    steps: tuple[Step, ...]


class Grouping:
    """A network's steps by the size of their groups, and the shape of every value.

    Args:
        network: what :func:`sparsebench.exporters.kernels.inference.onnx_reader.read_onnx` found.
        batch_size: pictures of a call.
        input_shape: ``(C, H, W)``.
        lanes: of a vector.
        item_bytes: 4 or 8.
        pixel_major: for generated code: the channels of a place side by side.

    Attributes:
        parts: in the order of execution, the sizes of their groups grow.
        sizes: value -> (channels, height, width) of whole planes.
        shapes: (value, group) -> its shape in that part; the network's output has none.
        made_in: value -> group of the step that writes it; 0 for the pictures.

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
        self._blocks = -(-batch_size // lanes)
        self.sizes: dict[int, Size] = {PICTURES: input_shape}
        self.made_in: dict[int, int] = {PICTURES: 0}
        self._folds: dict[int, Fold] = {}
        chosen: dict[int, list[Step]] = {}
        for step in network.steps:
            assert not isinstance(step, ConvStep)
            self.sizes[step.out] = size_after(step, self.sizes, network.layers)
            fold = self._fold(step)
            self.made_in[step.out] = fold.group
            self._folds[fold.group] = fold
            chosen.setdefault(fold.group, []).append(step)
        # Inputs belong to groups of at most the step's size, so this order is one of execution.
        self.parts = [Grouped(group, tuple(chosen[group])) for group in sorted(chosen)]
        self.shapes = self._shapes()

    def _fold(self, step: Step) -> Fold:
        values = [v for v in (step.inp, step.residual) if v is not None]
        least = max(self.made_in[v] for v in values)
        inp, out = self.sizes[step.inp][1:], self.sizes[step.out][1:]
        fitting = [
            fold
            for fold in folds(self._lanes)
            if fold.group >= min(least, self._lanes) and self._can(step, fold, inp, out)
        ]
        fold = fitting[0]
        most = _TILE // (out[0] * out[1])  # blocks
        if self._pixel_major:
            image = sum(self._item * math.prod(self.sizes[v]) for v in (step.inp, step.out))
            near = [fold for fold in fitting if fold.pictures * image <= _NEAR]
            fold = near[-1] if near else fold
            most = _NEAR // (self._lanes * image)
        if fold.whole:
            blocks = 1
            while 2 * blocks <= most and self._blocks % (2 * blocks) == 0:
                blocks *= 2
            fold = replace(fold, blocks=max(blocks, least // self._lanes))
        return fold

    def _can(self, step: Step, fold: Fold, inp: tuple[int, int], out: tuple[int, int]) -> bool:
        if fold.whole:
            return True
        stride = (1, 1)
        if isinstance(step, NormStep):
            stride = self._network.layers[step.layer][2].stride
        elif isinstance(step, MaxPoolStep):
            stride = (step.stride, step.stride)
        if stride[0] != stride[1] or not fold.fits(out, inp, stride[0]):
            return False
        piece = (inp[0] // fold.down, inp[1] // fold.across)
        return self._border(step, fold) <= min(piece)

    def _border(self, step: Step, fold: Fold) -> int:
        """Places around each piece of its input that a step reads."""
        if fold.whole:
            return 0
        inp, out = (
            (self.sizes[value][1] // fold.down, self.sizes[value][2] // fold.across)
            for value in (step.inp, step.out)
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
                if isinstance(step, MeanStep):
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
            channels, height, width = self.sizes[value]
            piece = (height // fold.down, width // fold.across)
            shapes[value, group] = Folded(
                fold, channels, *piece, border, self._lanes, self._item, self._pixel_major
            )
        return shapes
