"""Sizes of a network's values, and that every step fits what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.steps import (
    MaxPoolStep,
    NormStep,
    ResizeStep,
    Step,
)
from sparsebench.models.errors import SparsebenchError

Size = tuple[int, int, int]


def size_after(
    step: Step, sizes: Mapping[int, Size], layers: Mapping[str, tuple[Any, Any, Geometry]]
) -> Size:
    """(channels, height, width) of what a step writes; of a mean and of rows, of what it reads.

    Args:
        step: with its residual, if it has one.
        sizes: value -> (channels, height, width), of what it reads.
        layers: name -> (weight, bias, geometry).

    Raises:
        SparsebenchError: it takes other channels, or larger planes, or adds a value of another
            size: the kernels do not broadcast.
    """
    size = channels, height, width = sizes[step.inp]
    if isinstance(step, NormStep):
        geometry = layers[step.layer][2]
        if geometry.in_channels != channels:
            raise SparsebenchError(
                f"A convolution of {geometry.in_channels} channels cannot read {channels}."
            )
        size = (geometry.out_channels, *geometry.output_size(height, width))
    elif isinstance(step, MaxPoolStep):
        squares = ((step.kernel,) * 2, (step.stride,) * 2, (step.padding,) * 4)
        size = (channels, *Geometry(channels, channels, *squares).output_size(height, width))
    elif isinstance(step, ResizeStep):
        size = (channels, height * step.factor, width * step.factor)
    if step.residual is not None and sizes[step.residual] != size:
        one, other = ("x".join(map(str, s)) for s in (size, sizes[step.residual]))
        raise SparsebenchError(f"The kernels add values of one size only, not {one} and {other}.")
    return size
