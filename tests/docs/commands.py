"""The commands of the documentation, as lists of words.

Read are README.md, CONTRIBUTING.md and docs/*.md: every fenced ``sh`` block, the ``- run:`` lines
of ``yaml`` blocks, and code inside a sentence that starts like a command. A command that stands on
several pages is one command. How each is made small enough to run: `tests.docs.small`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )?(?:sparsebench|uv|pip|bash)\s[^`]+)`")
_NAMED_ONLY = ("uv run",)  # a program that a sentence speaks of
_STEP = re.compile(r"^- run: (.*)$", re.MULTILINE)
# What a sentence says in capitals stands for a name of the reader's own.
_PLACEHOLDERS = {"RUN": "my-first", "PLAN": "quick", "COMMAND": "run", "FOLDER": "path/to/paper"}


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
        page: file name of the first page that shows it.
        words: without environment variables and comments.
        environ: variables set before it.
    """

    page: str = field(compare=False)
    words: tuple[str, ...]
    environ: tuple[tuple[str, str], ...] = ()

    @property
    def sparsebench(self) -> tuple[str, ...] | None:
        """Its arguments where it is one of ours, behind `uv run` or alone."""
        words = [word for word in self.words if word != "--no-sync"]
        if words[:2] == ["uv", "run"]:
            words = words[2:]
        return tuple(words[1:]) if words and words[0] == "sparsebench" else None

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.sparsebench or self.words)}"


def commands() -> list[Command]:
    """All commands of all pages, in order, each once."""
    found: dict[tuple[object, ...], Command] = {}
    for page in PAGES:
        for line in _lines(page.read_text(encoding="utf-8")):
            for part in line.split(" && "):
                for words in _choices(shlex.split(part, comments=True)):
                    command = _command(page.name, words)
                    found.setdefault((command.sparsebench or command.words,), command)
    return list(found.values())


def _lines(text: str) -> Iterator[str]:
    for kind, block in _BLOCK.findall(text):
        if kind == "sh":
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line for line in lines if line and not line.startswith("#"))
        elif kind == "yaml":
            yield from _STEP.findall(block)
    for code in _INLINE.findall(_BLOCK.sub("", text)):
        if code not in _NAMED_ONLY:
            yield " ".join(code.split())


def _choices(words: list[str]) -> Iterator[list[str]]:
    """``list backbones|engines`` are two commands."""
    yield from map(list, product(*(word.split("|") for word in words)))


def _command(page: str, words: list[str]) -> Command:
    environ = []
    while "=" in words[0] and not words[0].startswith("-"):
        name, _, value = words.pop(0).partition("=")
        environ.append((name, _PLACEHOLDERS.get(value, value)))
    return Command(page, tuple(_PLACEHOLDERS.get(word, word) for word in words), tuple(environ))
