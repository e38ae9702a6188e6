"""The checksum at the end of each line of a run's files.

A line is a JSON object whose last key is ``"check"``: the first 16 hex digits of the sha256 of the
object's text without that key. It proves that nothing changed the line after it was written, by
whatever program; it is no signature. Lines of older versions have none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

KEY = "check"
_LENGTH = 16
_SPACE = re.compile(rb'("(?:[^"\\]|\\.)*")|\s+')
_END = re.compile(rb'"check"\s*:\s*"([0-9a-f]{16})"\s*\}\s*\Z')
# How a line ends whose key or value of the checksum was changed; no older line ends like this.
_SPOILT = re.compile(rb':\s*"[^"]{16}"\s*\}\s*\Z')


def sealed(line: Mapping[str, Any]) -> bytes:
    """The object as the bytes of one line, with its checksum and its end.

    Raises:
        ValueError: it holds NaN or an infinity.
    """
    text = json.dumps(line, allow_nan=False, separators=(",", ":")).encode()
    comma = b"," if line else b""
    return text[:-1] + comma + f'"{KEY}":"{_digest(text)}"}}\n'.encode()


def proven(raw: bytes, line: dict[str, Any]) -> bool:
    """Whether the line carries the checksum that fits; False where it carries none.

    Takes the key out of ``line``. White space may have been changed (by ``jq``, say).

    Raises:
        ValueError: a checksum that does not fit.
    """
    stated = line.pop(KEY, None)
    if stated is None:
        if _SPOILT.search(raw):
            raise ValueError("its checksum is spoilt")
        return False
    if _digest(_without(raw)) == stated or _digest(_without(_SPACE.sub(rb"\1", raw))) == stated:
        return True
    raise ValueError("it does not fit its checksum: something changed it after it was written")


def _without(raw: bytes) -> bytes:
    """The object's text without its checksum; empty where that is not the last key."""
    start = raw.rfind(b'"check"')
    if start < 0 or not _END.match(raw, start):
        return b""
    return raw[:start].rstrip().removesuffix(b",") + b"}"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_LENGTH]
