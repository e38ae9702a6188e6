"""File names in messages."""

from __future__ import annotations

from collections.abc import Sequence


def shortened(names: Sequence[str], most: int = 5) -> str:
    """``a, b, c and 4 more``, fit for a terminal."""
    shown = ", ".join(printable(name) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown


def printable(name: str) -> str:
    """A file's name without what a terminal would obey (control characters, lone bytes)."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
