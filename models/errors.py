"""Errors that a user can fix: one sentence of cause, one of fixing, an exit code.

Whatever is raised as a :class:`SparsebenchError` is printed without a traceback
by the command line; every other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SparsebenchError(Exception):
    """Something the user can put right.

    Args:
        cause: what is wrong, as a sentence without the fix.
        fix: what to do about it, as a sentence; may be empty.
    """

    exit_code = 2

    def __init__(self, cause: str, fix: str = "") -> None:
        super().__init__(f"{cause} {fix}".strip())
        self.cause = cause
        self.fix = fix


LISTED = ("backbone", "engine", "method", "plan", "task", "workload")
"""Kinds of names that `sparsebench list` shows."""
_FEW, _MANY = 12, 60


class UnknownNameError(SparsebenchError):
    """A name that no registry knows; offers the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
        if close:
            fix = "Did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
        elif len(choices) > _FEW and kind in LISTED:
            fix = f"`sparsebench list {kind}s` shows all {len(choices)}."
        elif len(choices) <= _MANY:
            fix = "Known: " + ", ".join(choices) + "."
        else:
            fix = f"Known: {', '.join(choices[:_FEW])} and {len(choices) - _FEW} more."
        super().__init__(f"There is no {kind} named '{name}'.", fix)
        self.kind = kind
        self.name = name


class NothingMeasuredError(SparsebenchError):
    """A run or a check that ended without one usable measurement."""

    exit_code = 3
