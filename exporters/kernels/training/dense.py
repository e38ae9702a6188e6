"""A layer that runs faster dense: handed to PyTorch, with the layout converted there and back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import Library
from sparsebench.exporters.kernels.training.functional import from_blocked
from sparsebench.exporters.kernels.training.layers import SparseConv2d


def dense_forward(
    kernels: Library,
    threads: int,
    layer: SparseConv2d,
    x: Tensor,
    inp: Blocked,
    y: Tensor,
    out: Blocked,
    bf16: bool,
) -> None:
    """The layer's output from x into y, both blocked; with `bf16` PyTorch computes it in that."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        plain = layer(from_blocked(x, inp, kernels, threads)).to(y.dtype).contiguous()
    kernels.to_blocked(out.reference, plain.data_ptr(), y.data_ptr(), threads)


def dense_backward(
    kernels: Library,
    threads: int,
    layer: SparseConv2d,
    x: Tensor,
    inp: Blocked,
    g: Tensor,
    out: Blocked,
    gx: Tensor,
    bf16: bool,
) -> Tensor:
    """The gradient to the layer's input, into gx; and that to its kept weights.

    Args:
        kernels: the compiled library.
        threads: to share the work.
        layer: the layer.
        x: its input, blocked; or its copy in bf16.
        inp: shape of x and gx.
        g: gradient to its output, blocked.
        out: shape of g.
        gx: blocked; written.
        bf16: whether PyTorch computes in bf16.

    Returns:
        ``[kept weights]``.
    """
    geometry = layer.geometry(inp.height, inp.width)
    top, left, below, right = geometry.padding
    x = x.to(g.dtype)
    dtype = torch.bfloat16 if bf16 else x.dtype
    images = functional.pad(from_blocked(x, inp, kernels, threads), (left, right, top, below))
    found, gw, _ = torch.ops.aten.convolution_backward(
        from_blocked(g, out, kernels, threads).to(dtype),
        images.to(dtype),
        layer.dense_weight().detach().to(dtype),
        None,
        list(geometry.stride),
        [0, 0],
        list(geometry.dilation),
        False,
        [0, 0],
        geometry.groups,
        [True, True, False],
    )
    found = found[:, :, top : top + inp.height, left : left + inp.width].to(x.dtype).contiguous()
    kernels.to_blocked(inp.reference, found.data_ptr(), gx.data_ptr(), threads)
    kept: Tensor = gw[layer.kept].to(x.dtype)
    return kept
