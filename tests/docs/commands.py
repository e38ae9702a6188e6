"""The commands of the documentation, as lists of words.

Every fenced ``sh`` block of README.md and docs/*.md is read. How each command is tested:

- cheap ones run for real, in a folder that holds what the pages speak of (`monday`, `ci.toml`,
  `path/to/pictures`, `sparse.pth`, ...), made by the test;
- `run PLAN ...` runs with ``--dry-run`` appended: it checks every name, opens the pictures and
  forecasts, and measures nothing;
- `doctor` runs with ``--machine``: asking every engine takes half a minute;
- what trains, measures for a minute, builds environments or needs git or the network
  (`sparsify`, `inspect --why`, `noise`, `check --base`, `engines install`, `export`), or takes
  files and runs of a kind of their own (ONNX files, a sweep of batch sizes), is parsed: the
  command and its options exist, values have the right type, names are registered.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PARSED = ("sparsify", "noise", "export", "engines")


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
        page: file name.
        words: without environment variables and comments.
        environ: variables set before it.
    """

    page: str
    words: tuple[str, ...]
    environ: dict[str, str]

    @property
    def sparsebench(self) -> tuple[str, ...] | None:
        """Its arguments where it is one of ours, behind `uv run` or alone."""
        words = [word for word in self.words if word != "--no-sync"]
        if words[:2] == ["uv", "run"]:
            words = words[2:]
        return tuple(words[1:]) if words and words[0] == "sparsebench" else None

    @property
    def only_parsed(self) -> bool:
        """Whether it is too long, or needs what a test has not."""
        words = self.sparsebench or ()
        own = "batch-size" in words or any(word.endswith(".onnx") for word in words)
        long = "--why" in words or "--base" in words or "--base-engine" in words
        return words[0] in PARSED or long or own

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def commands() -> list[Command]:
    """All commands of all pages, in order."""
    found = []
    for page in PAGES:
        for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split(" && "):
                    words = shlex.split(part, comments=True)
                    if words:
                        found.append(_command(page.name, words))
    return found


def _command(page: str, words: list[str]) -> Command:
    environ = {}
    while "=" in words[0] and not words[0].startswith("-"):
        name, _, value = words.pop(0).partition("=")
        environ[name] = value
    return Command(page, tuple(words), environ)
