"""What the commands print with where they need no tables; names cannot control the terminal.

A terminal that cannot show a character gets a plain one instead (``LC_ALL=C``, a pipe in Latin-1).
"""

from __future__ import annotations

import codecs
import logging
import sys
from typing import Any

from sparsebench.bench.present import escape

_PLAIN = {
    "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "·": "-", "±": "+/-", "∞": "inf",
    "“": '"', "”": '"', "‘": "'", "’": "'", "→": "->", "≤": "<=", "≥": ">=", "²": "2", "⁶": "6",
    "─": "-", "━": "-", "│": "|", "┃": "|", "╭": "+", "╮": "+", "╰": "+", "╯": "+", "•": "*",
    "█": "#", "░": ".", "✓": "v", "✔": "v", "✗": "x", "\xa0": " ",
}  # fmt: skip
_HANDLER = "sparsebench"


def fit_streams() -> None:
    """Let standard output and error write what their encoding has, and the log escape its names."""
    codecs.register_error(_HANDLER, _plainer)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a test's or a notebook's stream has none
            reconfigure(errors=_HANDLER)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(escape.LogLines("%(message)s"))


def echo(text: object = "", *, err: bool = False) -> None:
    """Print text without any markup; its lines stay lines."""
    print(escape.terminal(str(text)), file=sys.stderr if err else sys.stdout, flush=err)


def echo_json(value: Any, indent: int | None = 1) -> None:
    """Print JSON."""
    print(escape.json_text(value, indent))


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "unknown"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = seconds / 60
    return f"{_two(minutes)} min" if minutes < 100 else f"{_two(minutes / 60)} h"


def _two(number: float) -> str:
    """``2.0``, ``9.9``, ``12``: nobody reads the hundredth of a minute."""
    return f"{number:.1f}" if number < 9.95 else f"{number:.0f}"


def _plainer(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    ascii_only = (_PLAIN.get(char, f"\\u{ord(char):04x}" if char.isprintable() else "?")
                  for char in text)  # fmt: skip
    return "".join(ascii_only), error.end
