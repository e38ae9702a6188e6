"""torchvision, timm and PyTorch's optimizers, without PyTorch's compiler until it compiles.

torchvision imports ``torch._dynamo`` for one function that tells whether a device can compile an
operator of detectors, timm and optimizers import it to mark what is not to be compiled. It takes
longer to import than PyTorch and torchvision together, and few processes of the suite use it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def torchvision_models() -> Any:
    """The module ``torchvision.models``."""
    with without_compiler():
        return importlib.import_module("torchvision.models")


def torchvision_ops() -> Any:
    """The module ``torchvision.ops``."""
    with without_compiler():
        return importlib.import_module("torchvision.ops")


def timm_library() -> Any:
    """The module ``timm``.

    What timm marks as not to be compiled is marked only where the compiler was imported before.
    """
    with without_compiler():
        return importlib.import_module("timm")


def timm_info(name: str) -> str:
    """The text of a file that timm ships about data sets, without timm itself."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "data" / "_info" / name).read_text(encoding="utf-8")


def postpone_compiler() -> None:
    """For the rest of this process, import PyTorch's compiler when something is compiled.

    Optimizers use it before: they mark their steps.
    """
    import torch  # noqa: F401 - its own imports are no concern of this

    for name in _COMPILER:
        sys.modules.setdefault(name, _Later(name))


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        folder = sys.modules["torch"].__path__[0]
        self.__path__ = [f"{folder}/_dynamo"] if name == _COMPILER[0] else []  # for its modules

    def is_compile_supported(self, *given: Any) -> Any:
        """All that torchvision wants of it."""
        _remove()
        return importlib.import_module(self.__name__).is_compile_supported(*given)

    def disable(self, fn: Any = None, *given: Any, **named: Any) -> Any:
        """All that timm wants of it: what nobody compiles needs no mark."""
        return fn or (lambda one: one)

    def graph_break(self, *given: Any, **named: Any) -> None:
        """With ``disable``, all that optimizers want of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove()
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Meanwhile, what only marks what is not to be compiled does not import the compiler."""
    if _COMPILER[0] in sys.modules:
        yield
        return
    postpone_compiler()
    try:
        yield
    finally:
        _remove()


def _remove() -> None:
    for name in _COMPILER:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]
