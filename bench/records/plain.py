"""From what the code holds to what JSON can say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """Dataclasses, tuples, paths and numpy values as JSON types; infinite and NaN as None.

    JSON has no infinity: an interval of one block, or the maximal error of an engine that
    returned NaN, is "not known" in a record, and the reason stands beside it.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        kept = [field.name for field in fields(value) if field.metadata.get("stored", True)]
        return {name: plain(getattr(value, name)) for name in kept}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [plain(item) for item in items]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no place in a record")


def pair(value: Any) -> tuple[float, float] | None:
    """A stored interval: two numbers, or None."""
    return None if value is None else (float(value[0]), float(value[1]))


def floats(value: Any) -> tuple[float, ...]:
    """A stored list of numbers."""
    return tuple(map(float, value))


def optional_floats(value: Any) -> tuple[float, ...] | None:
    """A stored list of numbers, or None."""
    return None if value is None else floats(value)
