"""``sparsebench check --base REF --head REF``: two versions of this project, in turns, in one job.

Each version is a checkout of its own (a git worktree), and both run the same plan in turns
(`bench.gate.sides`), so that what the machine does weighs on both. Times are compared directly,
base over head, block by block: no baseline, no other machine.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench.bench.comparisons import by_cell
from sparsebench.bench.comparisons.accuracy_change import accuracy_of
from sparsebench.bench.comparisons.alternated_visits import pair_visits, split_visits
from sparsebench.bench.comparisons.gated_ratios import key_of, name_of
from sparsebench.bench.gate.accuracy_limits import judge_change
from sparsebench.bench.gate.limits import Findings
from sparsebench.bench.gate.ratio_limits import judge_ratio
from sparsebench.bench.gate.report import CellVerdict, Settings
from sparsebench.bench.gate.sides import Side
from sparsebench.bench.records import Accuracy, RunFolder
from sparsebench.bench.statistics import (
    Change,
    RatioEstimate,
    estimate_ratio,
    holm,
    p_of,
)
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError

TIMES = "times"


def check_out(repository: Path, ref: str, where: Path) -> Side:
    """A worktree of a commit; "." stands for the working tree as it is.

    Raises:
        SparsebenchError: this is no git repository, or it has no such commit.
    """
    if ref == ".":
        return _checked(Side(ref, "working tree", repository))
    commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if not commit:
        raise SparsebenchError(
            f"There is no commit '{ref}' in {repository}.",
            "Fetch it first, or write '.' for the working tree.",
        )
    _git(repository, "worktree", "add", "--detach", "--force", str(where), commit)
    if not where.is_dir():
        raise SparsebenchError(f"{ref} could not be checked out into {where}.")
    return _checked(Side(ref, commit[:12], where))


def _checked(side: Side) -> Side:
    # Without it, Python would find the installed suite and measure that on both sides.
    if not (side.folder / "bench" / "__init__.py").is_file():
        raise SparsebenchError(f"'{side.name}' is not a checkout of sparsebench.")
    return side


def top_of(folder: Path) -> Path:
    """The top folder of the git repository around a folder.

    Raises:
        SparsebenchError: there is none.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if not top:
        raise SparsebenchError(f"{folder} is in no git repository.", "Go into a checkout first.")
    return Path(top)


def drop(repository: Path, side: Side) -> None:
    """Remove the worktree of a side."""
    if side.folder != repository:
        _git(repository, "worktree", "remove", "--force", str(side.folder))


def compare_refs(
    runs: Mapping[str, Sequence[RunFolder]], settings: Settings, repeat: str
) -> list[CellVerdict]:
    """Judge head by base, cell by cell.

    Args:
        runs: "base" and "head" -> its run, or one run a block, in the order of blocks.
        settings: effect, accuracy loss and `only`.
        repeat: the command that repeats this comparison.

    Returns:
        Verdicts of kind "times": their ratio is base over head, below 1 where head is slower.

    Raises:
        NothingMeasuredError: base measured no cell.
    """
    base, head = (_cells(runs[role]) for role in ("base", "head"))
    base = {key: cell for key, cell in base.items() if re.search(settings.only, cell.name)}
    if not base:
        raise NothingMeasuredError("The base measured no cell.", "Nothing was checked.")
    ratios: dict[tuple[Any, ...], RatioEstimate] = {}
    for key, times in base.items():
        blocks = [b for b in times.blocks if key in head and b in head[key].blocks]
        if blocks:
            pairs = [pair_visits(times.blocks[b], head[key].blocks[b]) for b in blocks]
            ratios[key] = estimate_ratio(pairs)
    p_values = [p_of(ratio) for ratio in ratios.values()]
    adjusted = dict(zip(ratios, holm(p_values), strict=True))
    return [
        _verdict(cell, head.get(key), ratios.get(key), adjusted.get(key, 1.0), settings, repeat)
        for key, cell in base.items()
    ]


@dataclass(frozen=True)
class _Cell:
    key: Mapping[str, Any]
    blocks: dict[tuple[int, int], tuple[Any, ...]]
    accuracy: Accuracy | None

    @property
    def name(self) -> str:
        return name_of(self.key)


def _cells(folders: Sequence[RunFolder]) -> dict[tuple[Any, ...], _Cell]:
    cells: dict[tuple[Any, ...], _Cell] = {}
    for number, folder in enumerate(folders):
        records = folder.records()
        trials = by_cell(folder.trials())
        for record in records:
            if record.status != "ok":
                continue
            key = key_of(record)
            found = accuracy_of(record, records)
            # The accuracy of generated weights means nothing.
            accuracy = found[0] if found and record.backbone.trained else None
            fresh = _Cell(key, {}, accuracy)
            cell = cells.setdefault(tuple(key.values()), fresh)
            for trial in trials.get(record.id, ()):
                if trial.status == "ok":
                    earlier = cell.blocks.get((number, trial.block), ())
                    cell.blocks[number, trial.block] = (*earlier, *split_visits(trial))
    return cells


def _verdict(
    before: _Cell,
    after: _Cell | None,
    ratio: RatioEstimate | None,
    p: float,
    settings: Settings,
    repeat: str,
) -> CellVerdict:
    if after is None or ratio is None:
        gone = "it is in base and was not measured in head"
        return CellVerdict(before.key, "missing", TIMES, reasons=(gone,), repeat=repeat)
    findings, change = Findings(), None
    speed = Change(ratio.median, ratio.low, ratio.high, p, ratio.smallest_effect)
    slower = f"head takes {1 / ratio.median:.3f} times as long"
    if ratio.ci95 is not None:
        slower += f" (95 % interval {1 / ratio.high:.3f} to {1 / ratio.low:.3f})"
    status = judge_ratio(speed, p, settings.effect, slower, findings)
    if before.accuracy is not None and after.accuracy is not None:
        most = settings.max_accuracy_loss
        change, of_accuracy = judge_change(after.accuracy, before.accuracy, most)
        findings.add(of_accuracy)
    return CellVerdict(
        before.key,
        findings.status(status),
        TIMES,
        change=speed,
        p=p,
        effect=settings.effect,
        accuracy_change=change,
        reasons=tuple(findings.broken),
        unknown=tuple(findings.unknown),
        repeat=repeat,
    )


def _git(repository: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise SparsebenchError(
            "git is not installed.", "Comparing two versions needs it."
        ) from error
    return done.stdout.strip() if done.returncode == 0 else ""
