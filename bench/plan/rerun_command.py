"""The command that measures one cell of a run again."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

PLAN = "plan.toml"


def run_words(
    folder: Path, *, workload: str, task: str, backbone: str, engines: Iterable[str]
) -> list[str]:
    """`sparsebench run PLAN …` for one cell, without `--out`; its dense baseline comes by itself.

    Args:
        folder: the run, for its resolved plan.
        workload: of the cell.
        task: the task's name in the record.
        backbone: of the cell.
        engines: its engine, and those that its numbers were taken against.
    """
    words = ["sparsebench", "run", str(folder / PLAN), "--backbone", backbone]
    for engine in dict.fromkeys(engines):
        words += ["--engine", engine]
    return [*words, "--workload", workload, *_task(folder, task)]


def _task(folder: Path, name: str) -> list[str]:
    """``--task`` where the plan has several; a record knows a folder's name, not its path.

    The plan is read as it is, not validated: it may ask for more CPUs than this machine has.
    """
    try:
        plan = tomllib.loads((folder / PLAN).read_text("utf-8"))
    except (OSError, ValueError):  # a run that was put together by hand has none
        return []
    tasks = [str(task) for task in plan.get("tasks", ())]
    if len(tasks) < 2:
        return []
    bare = name.removesuffix(f":{plan.get('limit')}")
    # A name with parents tells two folders of one name apart (sparsebench.bench.tasks.naming).
    ends = len(Path(bare).parts)
    whole = (task for task in tasks if Path(task).parts[-ends:] == Path(bare).parts)
    stems = (task for task in tasks if Path(task).stem == Path(bare).stem)
    return ["--task", next(whole, next(stems, bare))]
