"""torchvision, imported without PyTorch's compiler.

torchvision imports ``torch._dynamo`` for one function that tells whether a device can compile an
operator of detectors. It takes longer to import than PyTorch and torchvision together, and few
processes of the suite use it. (timm uses it at once.)
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def torchvision_models() -> Any:
    """The module ``torchvision.models``."""
    with _without_compiler():
        return importlib.import_module("torchvision.models")


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    __path__: list[str] = []  # noqa: RUF012 - a package's

    def is_compile_supported(self, *given: Any) -> Any:
        """All that torchvision wants of it."""
        return importlib.import_module(self.__name__).is_compile_supported(*given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove()
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _without_compiler() -> Iterator[None]:
    if "torchvision" in sys.modules or _COMPILER[0] in sys.modules:
        yield
        return
    import torch  # noqa: F401 - its own imports are no concern of this

    sys.modules.update({name: _Later(name) for name in _COMPILER})
    try:
        yield
    finally:
        _remove()


def _remove() -> None:
    for name in _COMPILER:
        if isinstance(sys.modules.get(name), _Later):
            del sys.modules[name]
