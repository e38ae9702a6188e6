"""Lazy registries: a name stands for ``"module:attribute"`` until it is used.

Nothing is imported when a registry is listed, so that a missing or broken library
behind one entry costs nothing to the others. Code outside this repository adds
entries through entry points (``sparsebench.engines``, ``sparsebench.tasks``, ...).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from sparsebench.models.errors import UnknownNameError


class Registry:
    """Names of one kind of thing and where each is implemented.

    Args:
        kind: singular noun for messages ("engine").
        group: entry-point group for code outside this repository.
        builtin: name -> ``"module:attribute"``.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._targets: dict[str, str] = dict(builtin)
        self._external_read = False

    def register(self, name: str, target: str) -> None:
        """Add one entry at run time; a later entry of the same name wins."""
        self._targets[name] = target

    def names(self) -> list[str]:
        """All known names, in order of registration."""
        self._read_entry_points()
        return list(self._targets)

    def target(self, name: str) -> str:
        """The ``"module:attribute"`` behind a name.

        Raises:
            UnknownNameError: no entry has this name.
        """
        self._read_entry_points()
        if name not in self._targets:
            raise UnknownNameError(self.kind, name, self._targets)
        return self._targets[name]

    def load(self, name: str) -> Any:
        """Import and return what a name stands for."""
        return load_target(self.target(name))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _read_entry_points(self) -> None:
        if self._external_read:
            return
        self._external_read = True
        for point in entry_points(group=self.group):
            self._targets.setdefault(point.name, point.value)


def load_target(target: str) -> Any:
    """Import ``"module:attribute"``."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
