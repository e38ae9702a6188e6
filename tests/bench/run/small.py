"""A plan whose cells take a fraction of a second, and the reader of what it wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparsebench.models.architectures import ARCHITECTURES
from tests.bench.conftest import Result

Cli = Callable[..., Result]
ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
# Two convolutions, where it does not matter what is measured: known in this process alone, and to
# engines that get an ONNX file.
TINY, TINY_DENSE = "tiny/uniform-90@generated", "tiny/dense@generated"
_SIZES = ("--size", 32, "--batch-size", 8, "--threads", 1, "--epochs", 3)
SMALL = ("--backbone", TINY, *_SIZES)
# A real network, for engines and trainings in processes that load it by its name.
BACKBONE = "resnet18/uniform-90@generated"
REAL = ("--backbone", BACKBONE, *_SIZES)
# ``sparsebench`` in a process of its own that knows it too.
COMMAND = (
    sys.executable,
    "-c",
    "from sparsebench.bench.cli import main\n"
    "from sparsebench.models.architectures import ARCHITECTURES\n"
    "ARCHITECTURES.register('tiny', 'tests.models.sparsify.tiny:TINY')\n"
    "main()",
)


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
