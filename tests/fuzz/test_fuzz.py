"""The corpus of what broke a reader once, in every run; coverage-guided fuzzing behind ``fuzz``."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.edited import look_at_many
from tests.fuzz.edits import KINDS
from tests.fuzz.targets import TARGETS, good_bytes, try_bytes

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_broke_once(path: Path) -> None:
    try_bytes(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", ["records", "toml", "tar"])
def test_neighbours_of_what_broke_once(name: str) -> None:
    """A few changed, cut and repeated bytes of each kept input."""
    rng = random.Random(0)
    kept = [path.read_bytes() for path in KEPT if path.parent.name == name]
    assert kept
    for data in kept:
        for _ in range(12):
            changed = bytearray(data[:20_000])
            for _ in range(rng.randint(1, 5)):
                place = rng.randrange(len(changed) or 1)
                changed[place : place + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
            try_bytes(name, bytes(changed))


@pytest.mark.parametrize("name", ["toml", "onnx", "tar"])
def test_neighbours_of_a_good_input(name: str) -> None:
    rng = random.Random(1)
    good = good_bytes(name)
    try_bytes(name, good)
    for _ in range(30):
        changed = bytearray(good)
        place = rng.randrange(len(changed))
        changed[place : place + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
        try_bytes(name, bytes(changed))


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_can_be_parsed_and_say_wrong_things(kind: str) -> None:
    broke: list[str] = []
    look_at_many(kind, 40, 1, broke.append)
    assert broke == []


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_many_files_that_can_be_parsed(kind: str) -> None:
    assert look_at_many(kind, 2000, 2, print)[1] == 0


@pytest.mark.fuzz
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided(name: str) -> None:
    pytest.importorskip("atheris")
    done = subprocess.run([sys.executable, "-m", "tests.fuzz", name, "20000"], check=False)
    assert done.returncode == 0
