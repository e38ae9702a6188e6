"""``python -m tests.fuzz.edited KIND COUNT [SEED]``: `inspect` looks into so many edited files."""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from sparsebench.models.errors import SparsebenchError
from tests.fuzz.edits import KINDS

MOST_SECONDS = 30.0
"""Of processor time for one file of a few kilobytes."""


def look(kind: str, data: bytes, folder: Path) -> str:
    """What `inspect` says of a file, or why it refuses it.

    Raises:
        Exception: whatever but SparsebenchError leaves it.
        AssertionError: it took longer than :data:`MOST_SECONDS`.
    """
    from sparsebench.bench.why.inspection import inspect_target

    path = folder / f"input{KINDS[kind][0]}"
    path.write_bytes(data)
    begin = time.process_time()
    try:
        said = f"{inspect_target(str(path)).sparsity:.3f}"
    except SparsebenchError as error:
        said = str(error)
    assert time.process_time() - begin < MOST_SECONDS
    return said


def look_at_many(kind: str, count: int, seed: int, say: Callable[[str], None]) -> tuple[int, int]:
    """How many edited files were read, and how many of them broke `inspect`."""
    taken = broken = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            data = KINDS[kind][1](random.Random(f"{seed} {number}"))
            try:
                taken += "'" not in look(kind, data, Path(folder))
            except Exception:
                broken += 1
                say(f"{kind} {seed} {number}: {traceback.format_exc()}")
    return taken, broken


if __name__ == "__main__":
    chosen, many = sys.argv[1], int(sys.argv[2])
    good, bad = look_at_many(chosen, many, int(sys.argv[3]) if len(sys.argv) > 3 else 0, print)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{chosen}: {many} files, {good} read, {bad} broke it; {memory} MB at most")
    sys.exit(bool(bad))
