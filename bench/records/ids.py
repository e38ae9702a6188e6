"""Identities: what cell a record is about, when it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sparsebench.bench.records.plain import plain

ID_LENGTH = 12


def cell_id(settings: Mapping[str, Any]) -> str:
    """Short id of a cell: the same settings give the same id on every machine and day.

    Args:
        settings: everything that defines the cell (backbone, engine, device, precision, threads,
            batch size, workload, task, recipe, ...). The order of keys does not matter, 1 and
            1.0 are the same, tuples and lists too.

    Returns:
        The first 12 hex digits of the sha256 of the canonical JSON.
    """
    text = json.dumps(_canonical(plain(settings)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def utc_now() -> str:
    """Now, ISO 8601 in UTC with milliseconds: the form of `created` and `started`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
