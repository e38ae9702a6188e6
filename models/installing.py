"""The command that installs a package here, in the tool that made this environment."""

from __future__ import annotations

import sys
from pathlib import Path


def install_command(*requirements: str) -> str:
    """``uv pip install NAME`` in an environment of uv, ``uv tool …`` in a tool's, else ``pip``."""
    try:
        made_by = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        made_by = ""
    wanted = " ".join(requirements)
    if (Path(sys.prefix) / "uv-receipt.toml").is_file():
        return f"uv tool install sparsebench --with {' --with '.join(requirements)}"
    if any(line.startswith("uv =") for line in made_by.splitlines()):
        return f"uv pip install {wanted}"
    return f"pip install {wanted}"
