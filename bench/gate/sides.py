"""Two sides of `check --base … --head …` run the same plan on one machine, in turns.

Checkouts that know `bench.clock.alternation` run at once and hand the machine to each other
between visits.
With one that does not (an older commit), whole runs of one block alternate instead; they lie
half a minute apart, so that the machine's own drift makes their intervals wider.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench.bench.clock.alternation import FIRST, SECOND, TURNS
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import NothingMeasuredError

Say = Callable[[str], None]
ROLES = ("base", "head")
LOOK_SECONDS = 0.5
_PROTOCOL = re.compile(r"^PROTOCOL = (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Side:
    """One version: its name as given, its commit, where it is checked out, its own plan if any."""

    name: str
    commit: str
    folder: Path
    plan: str | None = None


def run_sides(
    sides: Sequence[Side], arguments: Sequence[str], blocks: int, out: Path, say: Say
) -> dict[str, list[RunFolder]]:
    """Run a plan on both sides, in turns.

    Args:
        sides: base and head.
        arguments: of `run`: the plan, then options.
        blocks: of either side.
        out: folder for the runs.
        say: receives progress.

    Returns:
        "base" and "head" -> one run with all blocks, or one run for each block.

    Raises:
        NothingMeasuredError: a side measured nothing, or broke.
    """
    named = dict(zip(ROLES, sides, strict=True))
    base, head = (_protocol(side) for side in sides)
    if base is not None and base == head:
        return _together(named, arguments, blocks, out, say)
    say("One of the two knows no turns within a block: whole runs alternate instead.")
    return _whole_runs(named, arguments, blocks, out, say)


def _protocol(side: Side) -> str | None:
    """How a checkout takes turns; None where it cannot."""
    for file in ("bench/clock/alternation.py", "bench/turns.py"):  # its place until 2026-11-29
        try:
            found = _PROTOCOL.search((side.folder / file).read_text(encoding="utf-8"))
        except OSError:
            continue
        return found[1] if found else None
    return None


def _together(
    named: Mapping[str, Side], arguments: Sequence[str], blocks: int, out: Path, say: Say
) -> dict[str, list[RunFolder]]:
    to_head, to_base = os.pipe(), os.pipe()
    ends = {"base": (FIRST, to_base[0], to_head[1]), "head": (SECOND, to_head[0], to_base[1])}
    running: dict[str, subprocess.Popen[str]] = {}
    with ExitStack() as stack:
        errors = {role: stack.enter_context(tempfile.TemporaryFile("w+")) for role in named}
        try:
            for role, side in named.items():
                running[role] = subprocess.Popen(
                    _command(side, arguments, blocks, out / role),
                    **_surroundings(side, ends[role]),
                    stdout=subprocess.DEVNULL,
                    stderr=errors[role],
                    text=True,
                )
                stack.enter_context(running[role])
            # Only the runs hold the pipes now, so that one sees where the other ends.
            for end in (*to_head, *to_base):
                os.close(end)
            _follow(named, running, out, say)
        finally:
            for process in running.values():
                process.terminate()
        # The one that was stopped because of the other has a negative code and comes last.
        for role in sorted(running, key=lambda role: running[role].wait(), reverse=True):
            errors[role].seek(0)
            _refuse_broken(named[role], running[role].wait(), errors[role].read(), out / role)
    return {role: [RunFolder.reading(out / role)] for role in named}


def _follow(
    named: Mapping[str, Side],
    running: Mapping[str, subprocess.Popen[str]],
    out: Path,
    say: Say,
) -> None:
    """Wait until both have ended or one has failed; say how far they are."""
    said = 0
    base, head = named.values()
    say(f"base ({base.name}, {base.commit}) and head ({head.name}, {head.commit}) in turns")
    while any(process.poll() is None for process in running.values()):
        if any(process.poll() for process in running.values()):
            return
        done = min(_blocks_done(out / role) for role in running)
        if done > said:
            said = done
            say(f"blocks measured on both sides: {done}")
        time.sleep(LOOK_SECONDS)


def _blocks_done(folder: Path) -> int:
    """Blocks of a run that are over, of all its tasks."""
    try:
        lines = (folder / "blocks.jsonl").read_text(encoding="utf-8")
    except OSError:
        return 0
    return lines.count("\n")


def _whole_runs(
    named: Mapping[str, Side], arguments: Sequence[str], blocks: int, out: Path, say: Say
) -> dict[str, list[RunFolder]]:
    found: dict[str, list[RunFolder]] = {role: [] for role in named}
    for block in range(blocks):
        for role in ROLES if block % 2 == 0 else reversed(ROLES):
            side, folder = named[role], out / f"{role}-{block}"
            say(f"block {block + 1}/{blocks}: {role} ({side.name}, {side.commit})")
            done = subprocess.run(
                _command(side, arguments, 1, folder),
                **_surroundings(side),
                capture_output=True,
                text=True,
                check=False,
            )
            _refuse_broken(side, done.returncode, done.stderr, folder)
            found[role].append(RunFolder.reading(folder))
    return found


def _command(side: Side, arguments: Sequence[str], blocks: int, folder: Path) -> list[str]:
    plan = side.plan or arguments[0]
    options = [*arguments[1:], "--repeats", str(blocks), "--out", str(folder), "--json"]
    # Commits from before 2026-11-29 have no package `sparsebench`.
    package = "sparsebench" if (side.folder / "sparsebench/__main__.py").exists() else "bench"
    return [sys.executable, "-P", "-m", package, "run", plan, *options]


def _surroundings(side: Side, ends: tuple[str, int, int] | None = None) -> dict[str, Any]:
    # The checkout goes before what this interpreter has installed; -P keeps the caller's
    # folder out.
    environment = {**os.environ, "PYTHONPATH": str(side.folder)}
    if ends is not None:
        environment[TURNS] = ":".join(str(part) for part in ends)
    return {
        "env": environment,
        "pass_fds": ends[1:] if ends else (),
        # A plan of one's own is this checkout's: paths in it are the caller's.
        "cwd": None if side.plan else side.folder,
    }


def _refuse_broken(side: Side, code: int, said: str, folder: Path) -> None:
    if code == 0:
        return
    tail = said.strip().splitlines()[-3:]
    raise NothingMeasuredError(
        f"{side.name} measured nothing (exit {code}): {' '.join(tail)}", f"Look into {folder}."
    )
