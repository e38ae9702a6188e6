"""The command that measures one cell of a run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.toml_file import read_toml

PLAN = "plan.toml"


def run_words(
    folder: Path,
    *,
    workload: str,
    task: str,
    backbone: str,
    engines: Iterable[tuple[str, str]],
    settings: Mapping[str, Any],
) -> list[str]:
    """`sparsebench run PLAN …` for one cell, without `--out`; its dense baseline comes by itself.

    Args:
        folder: the run, for its resolved plan.
        workload: of the cell.
        task: the task's name in the record.
        backbone: of the cell.
        engines: name and precision of its engine, and of those that its numbers were taken against.
        settings: `batch_size`, `threads` and `size` of the cell; those of which the plan has a list
            become options.
    """
    plan = read_plan(folder)
    words = ["sparsebench", "run", str(folder / PLAN), "--backbone", backbone]
    for name, precision in dict.fromkeys(engines):
        usual = plan.get("precision", "fp32") == precision
        words += ["--engine", name if usual else f"{name}:{precision}"]
    words += ["--workload", workload, *_task(plan, task)]
    for key, value in settings.items():
        if isinstance(plan.get(key), list):
            words += [f"--{key.replace('_', '-')}", str(value)]
    return words


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan as it is, not validated: it may ask for more CPUs than this machine has."""
    try:
        return read_toml(folder / PLAN)
    except SparsebenchError:  # a run that was put together by hand has none
        return {}


def _task(plan: Mapping[str, Any], name: str) -> list[str]:
    """``--task`` where the plan has several; a record knows a folder's name, not its path."""
    tasks = [str(task) for task in plan.get("tasks", ())]
    if len(tasks) < 2:
        return []
    bare = name.removesuffix(f":{plan.get('limit')}")
    # A name with parents tells two folders of one name apart (sparsebench.bench.tasks.naming).
    ends = len(Path(bare).parts)
    whole = (task for task in tasks if Path(task).parts[-ends:] == Path(bare).parts)
    stems = (task for task in tasks if Path(task).stem == Path(bare).stem)
    return ["--task", next(whole, next(stems, bare))]
