"""The scripts that measure the project are no part of the wheel, and nothing in it needs them."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "exporters", "models")


def test_nothing_in_the_wheel_imports_the_scripts() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    files += (ROOT / "sparsebench").glob("*.py")
    found = []
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [str(path) for name in names if "results.scripts" in name]
    assert len(files) > 300 and found == []
