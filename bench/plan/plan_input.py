"""What a plan may hold before it is one: types inside lists and tables, ranges, names.

A plan file is input like any other: nothing in it may end in a traceback, take memory that does
not follow from its size, or name a folder outside of ``runs/``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsebench.models.errors import SparsebenchError

MOST_DEPTH = 16
LONGEST_NAME = 128
_LISTS: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("backbones", "engines", "workloads", "tasks"), ("names", (str,))),
    "seeds": ("whole numbers", (int,)),
    "weight_decays": ("numbers", (int, float)),
}
_TABLES = ("workload_engines", "dense", "engine_settings")
# key -> least and most; what is larger could only be a slip, and would claim memory or days.
RANGES: dict[str, tuple[float, float]] = {
    "threads": (0, 2**31),
    "batch_size": (1, 65_536),
    "size": (0, 2_048),
    "repeats": (1, 10_000),
    "max_repeats": (0, 10_000),
    "discards": (0, 10_000),
    "heat": (0, 86_400),
    "epochs": (0, 1_000_000),  # a section knows its own least
    "train_epochs": (0, 1_000_000),
    "limit": (0, 2**53),
    "task_gmacs": (0, 1e12),
    "call_gmacs": (0, 1e12),
    "order_seed": (0, 2**63 - 1),
    "min_seconds": (0, 86_400),
    "call_timeout": (0, 86_400 * 365),
    "budget_seconds": (0, 86_400 * 365),
    "lr": (0, 1e6),
    "target_margin": (0, 100),
}


def is_file(name: str) -> bool:
    """Whether a file of this name exists; a name that no file can have is none."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long, or a NUL in it
        return False


def check_input(data: Mapping[str, Any], where: str) -> None:
    """Refuse what TOML allows and no plan holds.

    Args:
        data: keys of a plan.
        where: the file, for messages.

    Raises:
        SparsebenchError: a list, table, number or name of the wrong kind.
    """
    for key, value in data.items():
        _check_plain(value, f"{where}: {shown(key)}", 1)
        if key in _TABLES and not isinstance(value, Mapping):
            raise SparsebenchError(f"{where}: '{key}' must be a table, not {shown(value)}.")
        _check_list(key, value, where)
        if isinstance(value, Mapping) and key not in _TABLES:  # a section of a workload
            for name, item in value.items():
                _check_list(name, item, f"{where}, section {shown(key)}")
    for name, partner in dict(data.get("dense") or {}).items():
        if not isinstance(partner, str) or not name or not partner:
            raise SparsebenchError(f"{where}: 'dense' must be a table of names, one for each name.")
    for name, table in dict(data.get("engine_settings") or {}).items():
        if not isinstance(table, Mapping):
            raise SparsebenchError(f"{where}: [engines.{name}] must be a table.")
        if not isinstance(table.get("python") or "", str):
            raise SparsebenchError(f"{where}: 'python' of engine {name} must be a path.")
        if not isinstance(table.get("options", {}), Mapping):
            raise SparsebenchError(f"{where}: 'options' of engine {name} must be a table.")
    if "name" in data:
        check_name(data["name"], where)


def check_name(name: Any, where: str) -> None:
    """Refuse a plan's name that is no name of a folder: it becomes a part of the run's.

    Raises:
        SparsebenchError: it is no text, empty, a path, too long, or holds control characters.
    """
    bad = (
        not isinstance(name, str)
        or not name.strip(". ")
        or any(char in name for char in "/\\")
        or not name.isprintable()
        or len(os.fsencode(name)) > LONGEST_NAME
    )
    if bad:
        raise SparsebenchError(
            f"{where}: {shown(name)} cannot be the name of a plan.",
            f"The run's folder is called so: no '/', at most {LONGEST_NAME} characters.",
        )


def check_ranges(plan: Any) -> None:
    """Refuse numbers outside of :data:`RANGES`, and seeds that no generator takes.

    Raises:
        SparsebenchError: names the key, what it may be, and what it is.
    """
    holders = (plan, *getattr(plan, "sections", {}).values())
    numbers = (
        (key, getattr(holder, key), *ends)
        for holder in holders
        for key, ends in RANGES.items()
        if hasattr(holder, key)
    )
    for key, value, least, most in numbers:
        if not least <= value <= most:  # NaN is nowhere
            end = f" and {most:g} or less" if value > most and value < float("inf") else ""
            raise SparsebenchError(
                f"'{key}' must be {least:g} or more{end}, and finite, not {shown(value)}."
            )
    for seed in plan.seeds:
        if not 0 <= seed < 2**63:
            raise SparsebenchError(f"'seeds' must be from 0 to 2^63 - 1, not {shown(seed)}.")


def shown(value: Any) -> str:
    """A value for a message: short, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]} ..."


def _check_list(key: str, values: Any, where: str) -> None:
    if key not in _LISTS or not isinstance(values, list | tuple):
        return
    words, kind = _LISTS[key]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, kind) or value == "":
            raise SparsebenchError(
                f"{where}: '{key}' must be a list of {words}; {shown(value)} is none."
            )


def _check_plain(value: Any, what: str, depth: int) -> None:
    if depth > MOST_DEPTH:
        raise SparsebenchError(f"{what} is nested deeper than {MOST_DEPTH} levels.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(key, what, depth + 1)
            _check_plain(item, what, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, what, depth + 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise SparsebenchError(f"{what} holds a NUL, which no name can.")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise SparsebenchError(f"{what} holds {shown(value)}, which is too large.")
    elif not isinstance(value, float):
        raise SparsebenchError(f"{what} holds a date or time; a plan has none.")
