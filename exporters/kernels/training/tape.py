"""What a forward pass of the kernels leaves for the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    MaxPoolStep,
    NormStep,
    Step,
)
from sparsebench.exporters.kernels.training.buffers import Buffers


@dataclass
class Tape:
    """What a forward pass leaves for the backward pass.

    Attributes:
        keep: whether there will be one.
        tensors: value -> blocked tensor of the kernels' data type.
        halves: value -> memory of the kernels' data type that holds it in bf16; its tensor is
            given back once no step of the forward pass reads it any more.
        shapes: value -> its shape.
        statistics: value of a batch norm's output -> (mean, 1 / deviation), ``[C]`` each.
        trained: those whose batch norm was in training mode.
        which: value of a pooled batch norm -> which pixel of its window each is, int8 in memory of
            the kernels' data type.
    """

    keep: bool = True
    tensors: dict[int, Tensor] = field(default_factory=dict)
    halves: dict[int, Tensor] = field(default_factory=dict)
    shapes: dict[int, Blocked] = field(default_factory=dict)
    statistics: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    trained: set[int] = field(default_factory=set)
    which: dict[int, Tensor] = field(default_factory=dict)

    def kept(self, value: int) -> Tensor:
        """A value as the backward pass reads it: bf16 where it is kept so."""
        if value not in self.halves:
            return self.tensors[value]
        return self.halves[value].view(torch.bfloat16)[: self.shapes[value].numel]

    def room(self, value: int, shape: Blocked, buffers: Buffers) -> Tensor:
        """Memory for a value in bf16, which :meth:`kept` returns from then on."""
        if value not in self.halves:
            self.shapes[value] = shape
            self.halves[value] = buffers.take(-(-shape.numel // 2))
        return self.kept(value)

    def forget(self, value: int, buffers: Buffers) -> None:
        """Give back all that is kept of a value."""
        for memory in (self.tensors, self.halves, self.which):
            if value in memory:
                buffers.give(memory.pop(value))


def halved(steps: Sequence[Step]) -> set[int]:
    """The values that can be kept in bf16: a batch norm reads or writes them.

    Not the images, and not what an activation or a pooling of its own compares with.
    """
    exact = {IMAGES}
    for step in steps:
        if isinstance(step, ActStep | MaxPoolStep):
            exact.add(step.out)
        if isinstance(step, MaxPoolStep):
            exact.add(step.inp)
    norms = [{step.inp, step.out} for step in steps if isinstance(step, NormStep)]
    while mixed := [pair for pair in norms if pair & exact]:
        exact.update(*mixed)  # a batch norm reads both of its values in one type
        norms = [pair for pair in norms if pair not in mixed]
    return set().union(*norms)
