"""The scripts that measure the project are no part of the wheel, and nothing in it needs them."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nothing_in_the_wheel_imports_the_scripts() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    folders = list(build["targets"]["wheel"]["force-include"])
    assert not any(path.startswith("results/scripts") or path == "results" for path in folders)
    files = [p for folder in folders for p in [ROOT / folder, *(ROOT / folder).rglob("*.py")]]
    found = []
    for path in [p for p in files if p.suffix == ".py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [str(path) for name in names if "results.scripts" in name]
    assert len(files) > 300 and found == []
