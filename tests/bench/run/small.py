"""A plan whose cells take a fraction of a second, and the reader of what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.conftest import Result

Cli = Callable[..., Result]
BACKBONE = "resnet18/uniform-90@generated"
SMALL = ("--backbone", BACKBONE, "--size", 32, "--batch-size", 8, "--threads", 1, "--epochs", 3)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def plan_file(folder: Path) -> Path:
    """A plan whose cells take a fraction of a second."""
    path = folder / "small.toml"
    # Trials are counted below: nothing may be thrown away because the machine is busy.
    path.write_text(
        "min_seconds = 0.01\nrepeats = 2\ncall_timeout = 60\ndiscards = 0\n"
        'recipe = "short"\ntrain_epochs = 1\n[serving]\nseconds = 0.2\n'
    )
    return path
