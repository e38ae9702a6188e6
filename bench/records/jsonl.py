"""JSON lines that survive a kill: whole lines, flushed to disk; a torn end is recognised."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsebench.models.errors import SparsebenchError

log = logging.getLogger("sparsebench")


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one object as one line and wait until it is on the disk.

    Raises:
        SparsebenchError: the file cannot be written; what was written of the line is taken back.
    """
    data = memoryview(json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            try:
                while data:
                    data = data[os.write(handle, data) :]
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
    except OSError as error:
        raise SparsebenchError(
            f"{path} cannot be written: {error.strerror}.", "Free some space or check its owner."
        ) from error


def read_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """All objects with their line numbers, from 1; a missing file has none.

    A last line that a kill has torn is left out with a warning.

    Raises:
        SparsebenchError: the file cannot be read, or a line before the last is no JSON object.
    """
    lines, torn_at = _parse(path)
    if torn_at is not None:
        log.warning(
            "%s ends in a line that was torn by a kill; it is left out.", path, stacklevel=2
        )
    return lines


def mend_end(path: Path) -> None:
    """Cut off a torn last line, so that the next append starts a line of its own."""
    _, torn_at = _parse(path)
    if torn_at is not None:
        log.warning("%s ended in a line that was torn by a kill; it is cut off.", path)
        with path.open("r+b") as file:
            file.truncate(torn_at)
            os.fsync(file.fileno())
        return
    if path.exists() and path.stat().st_size:
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a whole object, killed before its newline
                file.write(b"\n")
                os.fsync(file.fileno())


def _parse(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], int | None]:
    """Objects, and the byte where a torn last line starts."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], None
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be read: {error.strerror}.") from error
    lines: list[tuple[int, dict[str, Any]]] = []
    offset = 0
    for number, raw in enumerate(data.splitlines(keepends=True), start=1):
        start, offset = offset, offset + len(raw)
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
            if not isinstance(line, dict):
                raise ValueError("it is not a JSON object")
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            if not data[offset:].strip():
                return lines, start
            raise SparsebenchError(
                f"{path}, line {number} is damaged: {error}.",
                "Restore the file, or delete that line and run again with --resume.",
            ) from error
        lines.append((number, line))
    return lines, None
