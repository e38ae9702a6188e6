"""A layer that runs faster dense: handed to PyTorch, with the layout converted there and back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.training.layers import SparseConv2d


def to_plain(kernels: Library, threads: int, x: Tensor, shape: Blocked) -> Tensor:
    """A blocked tensor as ``[N, C, H, W]``."""
    plain = torch.empty(shape.pictures, shape.channels, shape.height, shape.width, dtype=x.dtype)
    kernels.from_blocked(shape.reference, x.data_ptr(), plain.data_ptr(), threads)
    return plain


def to_blocked(kernels: Library, threads: int, plain: Tensor, shape: Blocked, y: Tensor) -> None:
    """Contiguous ``[N, C, H, W]`` into a blocked tensor."""
    kernels.to_blocked(shape.reference, plain.data_ptr(), y.data_ptr(), threads)


def dense_forward(
    kernels: Library,
    threads: int,
    layer: SparseConv2d,
    x: Tensor,
    inp: Blocked,
    y: Tensor,
    out: Blocked,
) -> None:
    """The layer's output from x into y, both blocked."""
    with torch.no_grad():
        plain = layer(to_plain(kernels, threads, x, inp)).contiguous()
    to_blocked(kernels, threads, plain, out, y)


def dense_backward(
    kernels: Library,
    threads: int,
    layer: SparseConv2d,
    x: Tensor,
    inp: Blocked,
    g: Tensor,
    out: Blocked,
    gx: Tensor,
) -> Tensor:
    """The gradient to the layer's input, into gx; and that to its kept weights.

    Args:
        kernels: the compiled library.
        threads: to share the work.
        layer: the layer.
        x: its input, blocked.
        inp: shape of x and gx.
        g: gradient to its output, blocked.
        out: shape of g.
        gx: blocked; written.

    Returns:
        ``[kept weights]``.
    """
    geometry = layer.geometry(inp.height, inp.width)
    top, left, below, right = geometry.padding
    images = functional.pad(to_plain(kernels, threads, x, inp), (left, right, top, below))
    found, gw, _ = torch.ops.aten.convolution_backward(
        to_plain(kernels, threads, g, out),
        images,
        layer.dense_weight().detach(),
        None,
        list(geometry.stride),
        [0, 0],
        list(geometry.dilation),
        False,
        [0, 0],
        geometry.groups,
        [True, True, False],
    )
    found = found[:, :, top : top + inp.height, left : left + inp.width].contiguous()
    to_blocked(kernels, threads, found, inp, gx)
    kept: Tensor = gw[layer.kept]
    return kept
