"""A run's comparisons in an experiment tracker: Weights & Biases, MLflow or TensorBoard.

Each takes what it takes: a flat set of numbers, and the plan as parameters. Their own variables say
where it goes and whether anything leaves the machine (``WANDB_MODE=offline``,
``MLFLOW_TRACKING_URI``); TensorBoard's files lie in the run's folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.publish.shareable import shareable
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.installing import install_command

PROJECT = "sparsebench"
COLUMNS = (
    "speedup_same_engine", "speedup_same_engine_low", "speedup_same_engine_high",
    "speedup_best_dense", "speedup_best_fp32_dense", "accuracy_percent", "accuracy_change_points",
    "pictures_per_second", "seconds",
)  # fmt: skip
KEY = ("workload", "task", "backbone", "engine", "batch_size", "threads")


def log_run(folder: RunFolder, tracker: str) -> None:
    """Log a finished run.

    Raises:
        UnknownNameError: no such tracker.
        SparsebenchError: the tracker fails.
    """
    check_tracker(tracker)
    send = _TRACKERS[tracker][1]
    try:
        with shareable(folder) as shown:
            send(folder, numbers_of(shown), _parameters(shown))
    except Exception as error:  # each has its own; the run's files are safe
        raise SparsebenchError(
            f"The run could not be logged to {tracker}: {type(error).__name__}: {error}",
            f"Its files are whole in {folder.path}; the same command with --out {folder.path} "
            "--resume measures nothing again and logs it.",
        ) from error


def check_tracker(name: str) -> None:
    """Say before anything is measured what could not be logged after it.

    Raises:
        UnknownNameError: no such tracker.
        SparsebenchError: its library is not installed.
    """
    if name not in _TRACKERS:
        raise UnknownNameError("tracker", name, _TRACKERS)
    package, _ = _TRACKERS[name]
    if find_spec(package) is None:
        raise SparsebenchError(f"The library {package} is not installed.", _install(name))
    if name == "mlflow":
        _check_mlflow()


def _check_mlflow() -> None:
    import mlflow

    try:
        mlflow.MlflowClient()  # opens a local store; asks no server
    except Exception as error:  # SQLite without sqlalchemy, or a folder of files (MLflow 3)
        what, fix = str(error).split(". ")[0], "Name another place"
        if missing := [name for name in ("sqlalchemy", "alembic") if find_spec(name) is None]:
            what, fix = f"the library {missing[0]} is not installed", _install("mlflow")
        raise SparsebenchError(
            f"MLflow cannot write to {mlflow.get_tracking_uri()}: {what.removesuffix('.')}.",
            f"{fix}\nMLFLOW_TRACKING_URI=sqlite:////path/to/mlflow.db keeps it on this machine.",
        ) from error


def _install(tracker: str) -> str:
    return f"Install it: {install_command(f'sparsebench[{tracker}]')}"


def numbers_of(folder: RunFolder) -> dict[str, float]:
    """Every measured cell's numbers: ``WORKLOAD/TASK/BACKBONE/ENGINE/…/COLUMN`` -> value."""
    from sparsebench.bench.present.tables import sections, summary_frame

    records, trials = folder.records(), folder.trials()
    frame = summary_frame(sections(records, trials, compare_run(records, trials)))
    # What all cells share tells none of them apart.
    varying = [key for key in KEY if key in KEY[:4] or frame[key].nunique() > 1]
    found = {}
    for row in frame.to_dict("records"):
        place = "/".join(_plain(str(row[key])) for key in varying)
        for column in COLUMNS:
            value = row[column]
            if isinstance(value, int | float) and value == value:
                found[f"{place}/{column}"] = float(value)
    return found


def _plain(text: str) -> str:
    """A part of a metric's name: what MLflow, the strictest, allows."""
    return re.sub(r"[^\w.\- ]", "_", text)


def _parameters(folder: RunFolder) -> dict[str, str]:
    machines = {str(record.machine.get("fingerprint")) for record in folder.records()}
    plan = folder.path / "plan.toml"
    return {
        "run": folder.name,
        "machine": ", ".join(sorted(machines)),
        "plan": plan.read_text(encoding="utf-8") if plan.is_file() else "",
    }


def _wandb(folder: RunFolder, numbers: Mapping[str, float], parameters: Mapping[str, str]) -> None:
    import wandb

    # Its own list of the machine holds the user, the host and the path of the program.
    private = wandb.Settings(x_disable_machine_info=True, console="off")
    run = wandb.init(
        project=PROJECT,
        name=folder.name,
        config=dict(parameters),
        dir=str(folder.path),
        settings=private,
    )
    run.log(dict(numbers))
    run.finish()


def _mlflow(folder: RunFolder, numbers: Mapping[str, float], parameters: Mapping[str, str]) -> None:
    import mlflow

    mlflow.set_experiment(PROJECT)
    # Instead of the path of the program.
    with mlflow.start_run(run_name=folder.name, tags={"mlflow.source.name": "sparsebench"}):
        mlflow.set_tags({key: value for key, value in parameters.items() if key != "plan"})
        mlflow.log_text(parameters["plan"], "plan.toml")
        mlflow.log_metrics(dict(numbers))


def _tensorboard(
    folder: RunFolder, numbers: Mapping[str, float], parameters: Mapping[str, str]
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder.path / "tensorboard")) as writer:
        for name, value in numbers.items():
            writer.add_scalar(name, value)
        for name, text in parameters.items():
            writer.add_text(name, text)


_TRACKERS: dict[str, tuple[str, Callable[[RunFolder, dict[str, float], dict[str, str]], Any]]] = {
    "wandb": ("wandb", _wandb),
    "mlflow": ("mlflow", _mlflow),
    "tensorboard": ("tensorboard", _tensorboard),
}
