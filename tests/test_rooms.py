"""Folders of the packages use each other in one direction: no circle between rooms."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "exporters", "models")


def room_of(path: Path) -> str:
    """The folder on a package's first level, or the file that lies loose beside them."""
    return "/".join(path.relative_to(ROOT).with_suffix("").parts[:2])


def imported(node: ast.ImportFrom) -> list[Path]:
    """The files of the packages that an import names, wherever in a file it stands."""
    names = (node.module or "").split(".")
    if names[0] != "sparsebench" or names[1:2] == [] or names[1] not in PACKAGES:
        return []
    place = ROOT.joinpath(*names[1:])
    found = []
    for name in node.names:
        files = (place / f"{name.name}.py", place / name.name / "__init__.py",
                 place.with_suffix(".py"), place / "__init__.py")  # fmt: skip
        found.append(next(file for file in files if file.is_file()))
    return found


def test_no_rooms_use_each_other_in_a_circle() -> None:
    uses: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "sessions" in path.parts or path.name.startswith("test_"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    rooms = {room_of(file) for file in imported(node)}
                    uses.setdefault(room_of(path), set()).update(rooms - {room_of(path)})
    assert len(uses) > 30
    TopologicalSorter(uses).prepare()  # raises a CycleError that names the rooms
