"""What a network of lanes executes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import NONE
from sparsebench.exporters.kernels.lanes.values import View

Array = NDArray[np.float32]

OPS = (
    *("copy", "add", "sub", "mul", "div", "max", "min", "pow", "sqrt", "exp", "erf", "tanh"),
    *("sigmoid", "hard_sigmoid", "leaky", "abs", "log", "gelu", "silu", "sum", "mean", "most"),
)
"""``Op`` of lanes.cpp, in its order; the last three reduce a row to one number."""
REDUCES = ("sum", "mean", "most")


@dataclass
class LayerStep:
    """A convolution or linear layer: ``act(weight * inp + bias + residual)``.

    Attributes:
        name: of its node.
        weight: ``[O, C / groups, kh, kw]``.
        bias: ``[O]`` or None.
        geometry: of the convolution.
        inp: ``[C, H, W]``.
        out: ``[O, H, W]``.
        act: activation, see ``kernels/compiled/library.py``.
        residual: laid out as the output, or None.
    """

    name: str
    weight: Array
    bias: Array | None
    geometry: Geometry
    inp: View
    out: View
    act: int = NONE
    residual: View | None = None

    @property
    def reads(self) -> list[View]:
        """What must be computed before."""
        return [self.inp, *([self.residual] if self.residual is not None else [])]


@dataclass
class Instruction:
    """One operator on all rows of a program.

    Attributes:
        op: of :data:`OPS`.
        arguments: views broadcast to the program's shape, constants (arrays of that rank), plain
            numbers, or earlier instructions of the same program.
        out: what it writes, of the program's shape, or of size 1 along the rows.
        numbers: of some operators.
    """

    op: str
    arguments: list[View | Array | float | Instruction]
    out: View
    numbers: tuple[float, float] = (0.0, 0.0)


@dataclass
class RowStep:
    """Elementwise operators, and reductions of rows, on row after row.

    Attributes:
        shape: of the values, those of size 1 along the rows apart.
        axis: along which the rows lie.
        instructions: in order.
    """

    shape: tuple[int, ...]
    axis: int
    instructions: list[Instruction] = field(default_factory=list)

    @property
    def reads(self) -> list[View]:
        """What must be computed before."""
        return [a for i in self.instructions for a in i.arguments if isinstance(a, View)]

    @property
    def outer(self) -> tuple[int, ...]:
        """The shape without the rows."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]


@dataclass
class ProductStep:
    """``out = a @ b`` of two computed values, the same leading axes on all."""

    a: View
    b: View
    out: View

    @property
    def reads(self) -> list[View]:
        """What must be computed before."""
        return [self.a, self.b]


@dataclass
class WindowStep:
    """Maximum or mean over windows of planes ``[C, H, W]``.

    Attributes:
        geometry: of the windows.
        mean: or maximum.
        count_all: whether pixels outside of the plane count in a mean.
    """

    inp: View
    out: View
    geometry: Geometry
    mean: bool
    count_all: bool

    @property
    def reads(self) -> list[View]:
        """What must be computed before."""
        return [self.inp]


Step = LayerStep | RowStep | ProductStep | WindowStep


def written(step: Step) -> list[View]:
    """What a step computes."""
    return [i.out for i in step.instructions] if isinstance(step, RowStep) else [step.out]
