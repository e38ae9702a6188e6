"""What stands between a plan and its run: what cannot run here, and what is fetched first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.tasks import HUB, TASKS, task_path
from sparsebench.bench.tasks.base import TaskOptions
from sparsebench.bench.tasks.known_tasks import PAPER_TASKS
from sparsebench.bench.tasks.presence import SCANS, download_size, is_here, origin
from sparsebench.exporters.worker import environments
from sparsebench.exporters.worker.launch import engine
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.zoo import find


@dataclass(frozen=True)
class Obstacles:
    """Both kinds, a sentence each.

    Attributes:
        refused: what cannot run on this machine as it is; the run would hold failed cells.
        fetched: what the run downloads or builds before it measures.
    """

    refused: tuple[str, ...]
    fetched: tuple[str, ...]


def obstacles(plan: Plan, cells: Sequence[Cell]) -> Obstacles:
    """Ask for every task, file and engine of a plan; nothing is fetched, built or measured.

    Args:
        plan: resolved and checked.
        cells: of the plan.
    """
    refused: list[str] = []
    fetched: list[str] = []
    asked = (
        *(_task(name, plan) for name in plan.tasks),
        *(_backbone(name) for name in _once(cell.backbone for cell in cells)),
        *(_engine(name, plan) for name in _once(cell.engine for cell in cells)),
        _device(plan),
    )
    for no, first in asked:
        refused += [no] if no else []
        fetched += [first] if first else []
    return Obstacles(tuple(refused), tuple(fetched))


def to_fetch(name: str, plan: Plan) -> bool:
    """Whether opening a task would download it, or fail because it is not here."""
    if name.startswith(HUB):
        return not Path(name.removeprefix(HUB)).exists()
    return task_path(name, plan.data_dir) is None and is_here(name, _root(plan)) is False


def photos_instead(plan: Plan) -> str:
    """How to measure on photographs where a plan has scans and this machine has some, or nothing.

    The scans come with the packages, so that a preset measures the same everywhere; a machine that
    has a task of the paper's at hand can be asked for it.
    """
    if not all(origin(name.partition(":")[0]) == SCANS for name in plan.tasks):
        return ""
    here = [name for name in PAPER_TASKS if is_here(name, _root(plan))]
    smallest = min(here, key=lambda name: PAPER_TASKS[name].test, default="")
    return f"Photographs are on this machine: add `--task {smallest}`." if smallest else ""


def _task(name: str, plan: Plan) -> tuple[str, str]:
    if not to_fetch(name, plan):
        return "", ""
    if name not in TASKS:
        return "", f"the data set {name}, where it was not used before (size not known here)"
    if origin(name) == "download":
        return "", f"the images of {name} ({download_size(name)}) into {_root(plan)}"
    return f"The task {name} is not in {_root(plan)}, and there is no archive to fetch.", ""


def _backbone(name: str) -> tuple[str, str]:
    try:
        found = find(name)
        if found.card.refused:
            return found.card.refused, ""
        return "", found.absent()
    except SparsebenchError as error:
        return str(error), ""


def _engine(name: str, plan: Plan) -> tuple[str, str]:
    chosen, home = engine(name), engine(name).environment
    settings = plan.engine_settings.get(name)
    if settings is not None and settings.python is not None:
        there = Path(settings.python).exists()
        return ("" if there else f"{name}: there is no interpreter {settings.python}.", "")
    if home is None:
        answer = chosen.available()
        fix = f" Fix: {answer.fix}" if answer.fix else ""
        return ("" if answer.ok else f"{name}: {answer.reason}{fix}", "")
    if reason := environments.unsupported(home):
        return f"{name} is not for this machine: {reason}.", ""
    built = environments.interpreter(home) is not None
    return "", "" if built else f"an environment for {name} (packages of about 0.4 GB)"


def _device(plan: Plan) -> tuple[str, str]:
    if plan.device != "cuda":
        return "", ""
    import torch

    return ("" if torch.cuda.is_available() else "PyTorch finds no GPU here (device = cuda).", "")


def _root(plan: Plan) -> Path:
    if plan.data_dir:
        return Path(plan.data_dir).expanduser()
    return TaskOptions().cache_folder("downloads")


def _once(names: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(names)
