"""JSON lines that survive a kill: whole lines, flushed to disk; a torn end is recognised.

Reading is bounded: regular files only, no line above :data:`MOST_BYTES`, no number that a float
cannot hold, no deeper nesting than :data:`MOST_DEPTH`; memory grows with the file alone.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

from sparsebench.bench.records.checksum import proven, sealed
from sparsebench.models.errors import SparsebenchError

MOST_BYTES = 64 << 20
"""Of one line: a record of a million samples has 20 MB."""
MOST_DEPTH = 64
log = logging.getLogger("sparsebench")

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# A number stands behind one of these; four searches for a first character are faster than one for
# all of them.
_WILD = (
    re.compile(rb"[\s\[,:-][1-9]\d{18}"),
    re.compile(rb"[eE]\+?\d{3,}\s*[,\]}]"),
    re.compile(rb"NaN"),
    re.compile(rb"Infinity"),
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_unproven: set[str] = set()


class Line(NamedTuple):
    """One line of a file.

    Args:
        number: from 1.
        data: the object, without its checksum.
        proven: whether it carried the checksum that fits.
    """

    number: int
    data: dict[str, Any]
    proven: bool


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one object as one line with its checksum and wait until it is on the disk.

    Raises:
        SparsebenchError: the file cannot be written; what was written of the line is taken back.
    """
    append_bytes(path, sealed(line))


def append_bytes(path: Path, lines: bytes) -> None:
    """Append whole lines and wait until they are on the disk; see :func:`append_line`."""
    data = memoryview(lines)
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


def read_lines(path: Path) -> list[Line]:
    """All objects; a missing file has none.

    A last line that a kill has torn is left out with a warning.

    Raises:
        SparsebenchError: the file cannot be read, a line before the last is no JSON object, or a
            line does not fit its checksum.
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


def unproven_files() -> list[str]:
    """Files of this process in which a line carried no checksum, so may hold anything."""
    return sorted(_unproven)


def _parse(path: Path) -> tuple[list[Line], int | None]:
    """Objects, and the byte where a torn last line starts."""
    lines: list[Line] = []
    failed: tuple[int, int, Exception, bool] | None = None
    sealed_before = False
    for number, start, raw in _raw_lines(path):
        if failed is not None and raw.strip():
            _refuse(path, failed[0], failed[2])
        if not raw.strip():
            continue
        try:
            data = _object(raw)
            fits = proven(raw, data)
            if sealed_before and not fits:
                raise ValueError("its checksum is missing")
        except (ValueError, RecursionError) as error:  # JSON's and Unicode's are ValueErrors
            # A line that was written whole was not torn by a kill.
            whole = raw.rstrip(b"\r\n") != raw and raw.rstrip().endswith(b"}")
            failed = (number, start, error, whole)
            continue
        sealed_before = sealed_before or fits
        if not fits:
            _unproven.add(str(path))
        lines.append(Line(number, data, fits))
    if failed is None:
        return lines, None
    if failed[3]:
        _refuse(path, failed[0], failed[2])
    return lines, failed[1]


def _raw_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, first byte and bytes of each line; a missing file has none."""
    try:
        # A pipe without a writer would block the opening, a device never end.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SparsebenchError(f"{path} cannot be read: it is no regular file.")
            yield from _split(path, file)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SparsebenchError(f"{path} cannot be read: {error.strerror}.") from error


def _split(path: Path, file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    number = offset = 0
    while raw := file.readline(MOST_BYTES + 1):
        number += 1
        if len(raw) > MOST_BYTES:
            _refuse(path, number, ValueError(f"it is longer than {MOST_BYTES >> 20} MB"))
        yield number, offset, raw
        offset += len(raw)


def _object(raw: bytes) -> dict[str, Any]:
    if _depth(raw) > MOST_DEPTH:
        raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
    if any(wild.search(raw) for wild in _WILD):
        line = json.loads(raw, parse_int=_integer, parse_float=_number, parse_constant=_constant)
    else:
        line = json.loads(raw)
    if not isinstance(line, dict):
        raise ValueError("it is not a JSON object")
    return _whole_text(line) if _SURROGATE.search(raw) else line


def _depth(raw: bytes) -> int:
    """How deep it nests at most; brackets inside strings count too, if they are many."""
    if (least := raw.count(b"[") + raw.count(b"{")) <= MOST_DEPTH:
        return least
    depth = deepest = 0
    for byte in raw.translate(None, _NO_BRACKETS):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    if deepest <= MOST_DEPTH:
        return deepest
    without = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', raw)
    return deepest if len(without) == len(raw) else _depth(without)


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError("it holds an integer of more than 64 bits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("it holds a number that is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is not valid JSON")


def _whole_text(value: Any) -> Any:
    """Halves of surrogate pairs (bytes of a file's name that are no UTF-8) as `\\udcff`."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_whole_text(item) for item in value]
    if isinstance(value, dict):
        return {_whole_text(key): _whole_text(item) for key, item in value.items()}
    return value


def _refuse(path: Path, number: int, error: Exception) -> NoReturn:
    raise SparsebenchError(
        f"{path}, line {number} is damaged: {error}.",
        "Restore the file, or delete that line and run again with --resume.",
    ) from error
