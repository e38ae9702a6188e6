"""Attention as the matrix products that it is, while a network is exported.

The fused operator of torch exists in ONNX only from opset 14 on; old readers take the products.
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
