"""Functions of torch written out while a network is exported.

Attention is the matrix products that it is: its fused operator exists in ONNX only from opset 14
on, and old readers take the products. Pooling to one pixel is a mean: torch's newer exporter writes
that of channels that lie last as an ``as_strided``, the places of all its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@contextmanager
def plain_attention() -> Iterator[None]:
    """Inside, ``scaled_dot_product_attention`` is a product, a softmax and a product."""
    before = functional.scaled_dot_product_attention
    fast = torch.backends.mha.get_fastpath_enabled()
    functional.scaled_dot_product_attention = _attention  # type: ignore[assignment]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = before
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def plain_pooling() -> Iterator[None]:
    """Inside, ``adaptive_avg_pool2d`` to one pixel is a mean over height and width."""
    before = functional.adaptive_avg_pool2d

    def pooled(images: Tensor, output_size: Any) -> Tensor:
        if output_size in (1, (1, 1), [1, 1]):
            return images.mean((-2, -1), keepdim=True)
        return before(images, output_size)

    functional.adaptive_avg_pool2d = pooled  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.adaptive_avg_pool2d = before


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **others: Any,
) -> Tensor:
    if is_causal or others.get("enable_gqa"):
        raise NotImplementedError("causal attention is no part of an image classifier")
    scores = (query * (scale or 1 / math.sqrt(query.shape[-1]))) @ key.transpose(-2, -1)
    if attn_mask is not None:
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value
