"""A GPU that is not there: tensors that say ``cuda:0``, computed by the CPU.

A GPU refuses to mix its tensors with the host's, and hands none of them to numpy. Here both fail
just so, and therefore a tensor that was left on the wrong side is found on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda:0")


class OnGpu(Tensor):
    """A tensor on the pretended GPU; what it holds is an ordinary one."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        made: Any = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
        )
        made.held = inner.detach()
        return cast(OnGpu, made)

    def __deepcopy__(self, memo: dict[int, Any]) -> OnGpu:
        made: Any = OnGpu(self.held.clone()).requires_grad_(self.requires_grad)
        made._is_param = getattr(self, "_is_param", False)  # what makes it a Parameter
        memo[id(self)] = made
        return cast(OnGpu, made)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGpu({self.held})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _asked(func, args, kwargs or {}, super().__torch_function__, types)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        # Single numbers may come from the host, and a copy is what crosses over.
        others = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
        if others and "copy_" not in name:
            raise RuntimeError(f"{name}: expected all tensors on the same device, cuda:0 and cpu")
        result = func(*tree_map(_inside, args), **tree_map(_inside, kwargs))
        if func is torch.ops.aten._local_scalar_dense.default:
            return result
        if func._schema.is_mutable:
            changed = [a for a, s in zip(args, func._schema.arguments, strict=False) if s.is_write]
            if not func._schema.returns:
                return None
            if changed:
                return changed[0]
        return tree_map(lambda one: OnGpu(one) if isinstance(one, Tensor) else one, result)


class _Asked(TorchFunctionMode):
    """Sends to the pretended GPU what is made on ``cuda`` or moved there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _asked(func, args, kwargs or {}, None, types)


def _asked(func: Any, args: Any, kwargs: Any, otherwise: Any, types: Any) -> Any:
    first: Any = args[0] if args else None
    there = isinstance(first, OnGpu)
    if there and func == Tensor.device.__get__:
        return DEVICE
    if there and func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
        return True
    if func in (Tensor.numpy, Tensor.__array__) and there:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    if func is Tensor.tolist and there:
        return first.held.tolist()
    if func is Tensor.pin_memory:
        return first
    if func is Tensor.cpu and there:
        return first.held.clone()
    if func is Tensor.to:
        device, dtype, _, layout = torch._C._nn._parse_to(*args[1:], **_without_copy(kwargs))
        target = device or first.device
        plain = first.held if there else first
        if (target.type == "cuda") != there:
            changed = {"dtype": dtype, "memory_format": layout}
            moved = plain.detach().clone().to(**{k: v for k, v in changed.items() if v is not None})
            return OnGpu(moved) if target.type == "cuda" else moved
        args = (first,)
        kwargs = {"dtype": dtype or first.dtype, "copy": kwargs.get("copy", False)}
        if layout is not None:
            kwargs["memory_format"] = layout
    elif torch.device(kwargs.get("device") or "cpu").type == "cuda":
        made = func(*args, **{**kwargs, "device": None})
        return made if isinstance(made, OnGpu) else OnGpu(made)
    return func(*args, **kwargs) if otherwise is None else otherwise(func, types, args, kwargs)


def _without_copy(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != "copy"}


def _inside(one: Any) -> Any:
    return one.held if isinstance(one, OnGpu) else one


class _Event:
    """A mark in a queue that is never behind."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._passed = 0.0

    def record(self) -> None:
        self._passed = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: _Event) -> float:
        return (end._passed - self._passed) * 1e3


def _graphed(module: nn.Module, sample: tuple[Tensor]) -> Callable[[Tensor], Tensor]:
    """As PyTorch's: three steps to warm up, then the sample's memory takes every batch."""
    (images,) = sample
    for _ in range(3):
        module(images)

    def replay(batch: Tensor) -> Tensor:
        assert batch.shape == images.shape and batch.device == images.device
        images.copy_(batch)
        logits: Tensor = module(images)
        return logits

    return replay


_RUNTIME: dict[str, Any] = {
    "is_available": lambda: True,
    "is_bf16_supported": lambda: True,
    "is_current_stream_capturing": lambda: False,
    "current_device": lambda: 0,
    "device_count": lambda: 1,
    "get_device_name": lambda *_: "a pretended GPU",
    "synchronize": lambda *_: None,
    "empty_cache": lambda: None,
    "mem_get_info": lambda *_: (1 << 33, 1 << 33),
    "reset_peak_memory_stats": lambda *_: None,
    "max_memory_allocated": lambda *_: 1 << 20,
    "max_memory_reserved": lambda *_: 1 << 21,
    "get_rng_state": lambda *_: torch.empty(0),
    "set_rng_state": lambda *_: None,
    "Event": _Event,
    "make_graphed_callables": _graphed,
}


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within it ``"cuda"`` is a device."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    # A network's parameters stay the same objects when they move, as they do on a GPU.
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with (
            mock.patch.multiple(torch.cuda, **_RUNTIME),
            # Tensors of another class have a version, which inference mode does without.
            mock.patch.object(torch, "inference_mode", torch.no_grad),
            _Asked(),
        ):
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
