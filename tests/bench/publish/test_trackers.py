"""``--log-to``: the same numbers in each tracker, offline, and refused before a run in vain."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import sparsebench.bench.publish.trackers as trackers
from sparsebench.bench.publish.trackers import check_tracker, log_run, numbers_of
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from tests.bench.conftest import Result
from tests.bench.synthetic import make_run

NAME = "inference/digits/resnet18_acdc-90/deepsparse/speedup_same_engine"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(blocks=3, engines=["deepsparse"]).write(tmp_path / "monday")


def test_each_cell_has_its_numbers_and_missing_ones_are_left_out(run: RunFolder) -> None:
    numbers = numbers_of(run)
    task = run.records()[0].task.name
    assert numbers[NAME.replace("digits", task)] == pytest.approx(4.0, rel=0.1)
    assert all(value == value for value in numbers.values())


def test_tensorboard(run: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_run(run, "tensorboard")
    read = EventAccumulator(str(run.path / "tensorboard")).Reload()
    logged = {tag: read.Scalars(tag)[0].value for tag in read.Tags()["scalars"]}
    assert logged == {name: pytest.approx(value) for name, value in numbers_of(run).items()}


def test_mlflow(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # files need no server and no database
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    log_run(run, "mlflow")
    (logged,) = mlflow.search_runs(experiment_names=["sparsebench"], output_format="list")
    assert logged.info.run_name == "monday"
    assert logged.data.metrics == {n: pytest.approx(v) for n, v in numbers_of(run).items()}


def test_wandb_offline(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log_run(run, "wandb")
    (kept,) = (run.path / "wandb").glob("offline-run-*")
    assert list(kept.glob("*.wandb"))


def test_what_cannot_be_logged_is_said_before_anything_is_measured(
    cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownNameError, match="no tracker named 'wandbb'"):
        check_tracker("wandbb")
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    refused = cli("run", "quick", "--log-to", "mlflow", "--out", "never")
    assert refused.code == 2
    assert "The library mlflow is not installed." in refused.err
    assert "[mlflow]" in refused.err and not Path("never").exists()


def test_a_store_that_mlflow_cannot_open_is_said_before_anything_is_measured(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())  # files: MLflow 3 refuses them
    try:
        refused = cli("run", "quick", "--log-to", "mlflow", "--out", "never")
    finally:
        mlflow.set_tracking_uri(before)
    assert refused.code == 2
    assert "MLflow cannot write to file:" in refused.err
    assert "sqlite:///" in refused.err and not Path("never").exists()


def test_sqlite_without_its_library_is_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own words are "Model registry functionality is unavailable"."""
    import mlflow

    def unsupported() -> None:
        raise RuntimeError("Model registry functionality is unavailable; got unsupported URI.")

    monkeypatch.setattr(mlflow, "MlflowClient", unsupported)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "sqlalchemy" else name)
    with pytest.raises(SparsebenchError, match="library sqlalchemy is not installed") as error:
        check_tracker("mlflow")
    assert "[mlflow]" in error.value.fix


def test_the_extra_mlflow_has_what_its_local_store_needs() -> None:
    root = Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {re.split(r"\W", line)[0] for line in extras["mlflow"]} >= {"sqlalchemy", "alembic"}


def test_a_tracker_that_fails_loses_nothing(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no route")

    monkeypatch.setitem(trackers._TRACKERS, "wandb", ("wandb", broken))
    with pytest.raises(SparsebenchError, match="RuntimeError: no route") as error:
        log_run(run, "wandb")
    assert str(run.path) in error.value.fix
