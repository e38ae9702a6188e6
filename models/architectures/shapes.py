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


def _product(tensor: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return tensor.new_empty(*tensor.shape[:-1], weight.shape[0])


def _convolved(
    tensor: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    fits = tensor.dim() == 4 and tensor.shape[1] == weight.shape[1] * groups
    if isinstance(padding, str) or not fits:
        return functional.conv2d(tensor, weight, bias, stride, padding, dilation, groups)
    pairs = [(one, one) if isinstance(one, int) else one for one in (stride, padding, dilation)]
    sizes = []
    for size, kernel, step, margin, apart in zip(
        tensor.shape[2:], weight.shape[2:], *pairs, strict=True
    ):
        room = size + 2 * margin - apart * (kernel - 1) - 1
        if room < 0:
            raise RuntimeError(f"a kernel of {kernel} is larger than its input of {size}")
        sizes.append(room // step + 1)
    return tensor.new_empty(tensor.shape[0], weight.shape[0], *sizes)


_Replaced = dict[Any, Callable[..., Tensor]]
_DRAWN: _Replaced = {
    Tensor.normal_: _same,
    Tensor.uniform_: _same,
    Tensor.erfinv_: _same,
    nn.init.normal_: _same,
    nn.init.uniform_: _same,
    nn.init.trunc_normal_: _same,
}
_COMPUTED: _Replaced = {
    functional.batch_norm: _same,
    functional.conv2d: _convolved,
    functional.linear: _product,
}


class _Instead(TorchFunctionMode):
    """Calls other functions instead of some of PyTorch's."""

    def __init__(self, replaced: _Replaced) -> None:
        super().__init__()
        self._replaced = replaced

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        called: Callable[..., Any] = self._replaced.get(func, func)
        return called(*args, **(kwargs or {}))


@contextmanager
def uncomputed() -> Iterator[None]:
    """Networks are built and run without drawing weights and without computing their layers.

    Their tensors hold what memory holds. They lie on the CPU: on the meta device most operators
    would import SymPy, in half as long as PyTorch itself.
    """
    with torch.random.fork_rng(devices=[]), _Instead(_DRAWN | _COMPUTED):
        yield


def build_shapes(arch: str, num_classes: int = 1000) -> nn.Module:
    """As :func:`~sparsebench.models.architectures.build`, on the meta device: only shapes.

    Raises:
        UnknownNameError: no architecture has this name.
    """
    # On that device PyTorch would import its compiler for drawing.
    with torch.device("meta"), _Instead(_DRAWN):
        return build(arch, num_classes)
