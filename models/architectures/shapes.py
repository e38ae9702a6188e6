"""Networks without values: what a file or a count of operations is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sparsebench.models.architectures import build


def _same(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor


def _pooled(tensor: Tensor, size: Any) -> Tensor:
    size = (size, size) if isinstance(size, int) else size
    return tensor.new_empty(*tensor.shape[:-2], *size)


def _product(tensor: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return tensor.new_empty(*tensor.shape[:-1], weight.shape[0])


_SHAPES: dict[Any, Callable[..., Tensor]] = {
    Tensor.normal_: _same,
    Tensor.uniform_: _same,
    nn.init.normal_: _same,
    nn.init.uniform_: _same,
    functional.batch_norm: _same,
    functional.adaptive_avg_pool2d: _pooled,
    functional.linear: _product,
}


class _OnlyShapes(TorchFunctionMode):
    """Of what PyTorch would import its compiler for, on the meta device, the result's shape."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _SHAPES and (args or list(given.values()))[0].is_meta:
            func = _SHAPES[func]
        return func(*args, **given)


@contextmanager
def only_shapes() -> Iterator[None]:
    """Networks are built, and run, on the meta device: their tensors have shapes, no values."""
    with torch.device("meta"), _OnlyShapes():
        yield


def build_shapes(arch: str, num_classes: int = 1000) -> nn.Module:
    """As :func:`~sparsebench.models.architectures.build`, but only shapes.

    Raises:
        UnknownNameError: no architecture has this name.
    """
    with only_shapes():
        return build(arch, num_classes)
