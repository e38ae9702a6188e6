"""Commands as they are typed here: in the tool that made this environment and started this."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path


def install_command(*requirements: str) -> str:
    """``uv pip install NAME`` in an environment of uv, ``uv tool …`` in a tool's, else ``pip``."""
    try:
        made_by = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        made_by = ""
    # Quoted where a shell would take an extra's brackets for a pattern.
    requirements = tuple(map(shlex.quote, requirements))
    wanted = " ".join(requirements)
    if (Path(sys.prefix) / "uv-receipt.toml").is_file():
        return f"uv tool install sparsebench --with {' --with '.join(requirements)}"
    if any(line.startswith("uv =") for line in made_by.splitlines()):
        return f"uv pip install {wanted}"
    return f"pip install {wanted}"


def typed_here(text: str) -> str:
    """Text whose commands of the suite are ``uv run sparsebench …`` where ``uv run`` started it.

    A command is what stands at the beginning or behind a backtick.
    """
    if "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return text
    return re.sub(r"(?m)(^\s*|`)sparsebench (?=[a-z])", r"\1uv run sparsebench ", text)
