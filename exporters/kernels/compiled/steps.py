"""A network as a list of steps over numbered values, what the kernels execute.

Value 0 is the images; every step writes one value of its own. Layers are named by their
dotted names in the network, so that their parameters are found where the user left them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sparsebench.exporters.kernels.compiled.library import NONE

IMAGES = 0
_LARGEST = 11  # side of a window whose pixels a byte counts


@dataclass(frozen=True)
class ConvStep:
    """A convolution (or linear layer) without its normalisation."""

    inp: int
    out: int
    layer: str

    residual: None = None


@dataclass(frozen=True)
class NormStep:
    """``act(batch_norm(inp) + residual)``, or the maxima over windows of it."""

    inp: int
    out: int
    layer: str
    act: int = NONE
    residual: int | None = None
    pool: MaxPoolStep | None = None


@dataclass(frozen=True)
class ActStep:
    """``act(inp + residual)``, where no batch norm stands in front of it."""

    inp: int
    out: int
    act: int = NONE
    residual: int | None = None


@dataclass(frozen=True)
class MaxPoolStep:
    """Maximum over square windows."""

    inp: int
    out: int
    kernel: int
    stride: int
    padding: int

    residual: None = None


@dataclass(frozen=True)
class MeanStep:
    """Mean over each plane: the last step, its output is ``[N, C]`` in the plain layout."""

    inp: int
    out: int

    residual: None = None


@dataclass(frozen=True)
class ResizeStep:
    """Planes enlarged: every pixel repeated `factor` times along both axes."""

    inp: int
    out: int
    factor: int

    residual: None = None


@dataclass(frozen=True)
class RowsStep:
    """All planes of a value, one behind the other, in each image's row of what is returned.

    Attributes:
        first: numbers in front of them in the row.
        channels: of the value.
    """

    inp: int
    out: int
    first: int
    channels: int

    residual: None = None


Step = ConvStep | NormStep | ActStep | MaxPoolStep | MeanStep | ResizeStep | RowsStep


def fuse(steps: list[Step], *outputs: int) -> list[Step]:
    """Additions and activations moved into the batch norm in front of them.

    Only where nothing else reads what stands between. The order of the steps stays valid:
    an addition is fused into the later of its two operands.

    Args:
        steps: in an order of execution.
        outputs: the values that the network returns.
    """
    fused = list(steps)
    done = False
    while not done:
        done = True
        uses = _uses(fused, outputs)
        places = {step.out: i for i, step in enumerate(fused)}
        for i, step in enumerate(fused):
            if not isinstance(step, ActStep):
                continue
            operands = [step.inp] if step.residual is None else [step.inp, step.residual]
            last = max(operands, key=lambda value: places.get(value, -1))
            before = places.get(last)
            if before is None or uses[last] != 1:
                continue
            front = fused[before]
            other = next((value for value in operands if value != last), None)
            joined = isinstance(front, NormStep | ActStep) and front.act == NONE
            if not joined or (other is not None and front.residual is not None):
                continue
            assert isinstance(front, NormStep | ActStep)
            residual = front.residual if other is None else other
            fused[before] = replace(front, out=step.out, act=step.act, residual=residual)
            del fused[i]
            done = False
            break
    return fused


def fuse_pools(steps: list[Step], *outputs: int) -> list[Step]:
    """Max-poolings moved into the batch norm in front of them, as :func:`fuse`; not where it adds.

    Args:
        steps: in an order of execution, fused otherwise.
        outputs: the values that the network returns.
    """
    uses = _uses(steps, outputs)
    pools = {s.inp: s for s in steps if isinstance(s, MaxPoolStep) and s.kernel <= _LARGEST}
    fused: list[Step] = []
    gone = set()
    for step in steps:
        pool = pools.get(step.out) if uses.get(step.out) == 1 else None
        if isinstance(step, NormStep) and step.residual is None and pool:
            fused.append(replace(step, out=pool.out, pool=pool))
            gone.add(pool.out)
        elif step.out not in gone:
            fused.append(step)
    return fused


def _uses(steps: list[Step], outputs: tuple[int, ...]) -> dict[int, int]:
    counts = dict.fromkeys(outputs, 1)
    for step in steps:
        for value in (step.inp, step.residual):
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
    return counts


def last_uses(steps: list[Step], *outputs: int) -> dict[int, int]:
    """Value -> index of the last step that reads it; outputs live for ever."""
    last: dict[int, int] = {}
    for i, step in enumerate(steps):
        for value in (step.inp, step.residual):
            if value is not None:
                last[value] = i
    last.update(dict.fromkeys(outputs, len(steps)))
    return last
