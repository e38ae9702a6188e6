"""What a forward pass of the kernels leaves for the backward pass."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sparsebench.exporters.kernels.compiled.layout import Blocked


@dataclass
class Tape:
    """What a forward pass leaves for the backward pass.

    Attributes:
        tensors: value -> blocked tensor.
        shapes: value -> its shape.
        statistics: value of a batch norm's output -> (mean, 1 / deviation), ``[C]`` each.
        trained: those whose batch norm was in training mode.
        which: value of a pooled batch norm -> which pixel of its window each is, int8 in memory of
            the kernels' data type.
    """

    tensors: dict[int, Tensor] = field(default_factory=dict)
    shapes: dict[int, Blocked] = field(default_factory=dict)
    statistics: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    trained: set[int] = field(default_factory=set)
    which: dict[int, Tensor] = field(default_factory=dict)
