"""Whether a step gets shapes that it is made for: the kernels see addresses alone."""

from __future__ import annotations

from torch import nn

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.steps import Step
from sparsebench.exporters.kernels.training.layers import SparseConv2d
from sparsebench.models.errors import SparsebenchError


def check_step(step: Step, layer: nn.Module | None, inp: Blocked, other: Blocked) -> None:
    """Refuse shapes that would be read beyond their end.

    Args:
        step: to be run.
        layer: its layer, if it has one.
        inp: shape of its input.
        other: shape of what it adds, or of its input again.

    Raises:
        SparsebenchError: another number of channels than the layer has, or an addition of
            different shapes.
    """
    expected: int | None = None
    if isinstance(layer, SparseConv2d):
        expected = layer.in_channels
    elif isinstance(layer, nn.BatchNorm2d):
        expected = layer.num_features
    if expected is not None and inp.channels != expected:
        raise SparsebenchError(
            f"'{getattr(step, 'layer', '')}' takes {expected} channels and got {inp.channels}.",
            "Give images with the channels that the network was made for.",
        )
    if other != inp:
        raise SparsebenchError(
            f"Two values of {_words(inp)} and {_words(other)} are added; the kernels add "
            "equal shapes only.",
            "Expand the smaller one, or leave the layers behind it out of the mask.",
        )


def _words(shape: Blocked) -> str:
    return f"{shape.channels}×{shape.height}×{shape.width}"
