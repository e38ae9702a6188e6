"""The switch for kernels that give the same bits every time: where it goes, what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.present.tables.training import _determinism
from sparsebench.bench.run.build_records import _settings
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.calibrate import cost_of_determinism
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.heartbeat import Heartbeat
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.launch import _environment
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.bench.training.tuning import Tuning
from sparsebench.bench.workloads.full import FullSettings, _found_earlier
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError
from tests.bench.training.small import SPARSE, small_network, trained_here

CARD = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
STRICT = Execution(deterministic=True)
RECIPE = TrainRecipe("short", 1, 0.1, 8)


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return decode_task(open_task(str(images)), CARD, 0.2, threads=1, clock=StageClock())


class Strict(nn.Conv2d):
    """A layer whose deterministic kernel takes 400 ms longer, many steps even on a busy machine."""

    def forward(self, input: Tensor) -> Tensor:
        if torch.are_deterministic_algorithms_enabled():
            time.sleep(0.4)
        return super().forward(input)


class OnlyAny(nn.Conv2d):
    """A layer that has no other kernel than a deterministic one."""

    def forward(self, input: Tensor) -> Tensor:
        if not torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("no room")
        return super().forward(input)


def test_the_cost_is_measured_and_pytorch_left_as_it_was(data: TrainingData) -> None:
    network = small_network()
    network.module[0].__class__ = Strict  # type: ignore[index]
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    cost = cost_of_determinism(network, data, RECIPE, STRICT)
    assert cost is not None and cost > 1.5
    assert not torch.are_deterministic_algorithms_enabled()
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_cost_that_cannot_be_had_is_not_guessed(data: TrainingData) -> None:
    network = small_network()
    network.module[0].__class__ = OnlyAny  # type: ignore[index]
    assert cost_of_determinism(network, data, RECIPE, STRICT) is None


@pytest.mark.parametrize("kernels", [False, True])
def test_a_training_tells_its_cost_and_later_blocks_go_by_it(images: Path, kernels: bool) -> None:
    job = Job(
        backbone=SPARSE,
        task=str(images),
        task_options={},
        preprocessing=CARD,
        recipe=TrainRecipe("short", 1, 0.02, 12),
        seeds=(4,),
        validation=0.2,
        device="cpu",
        precision="fp32",
        threads=1,
        kernels=kernels,
        deterministic=True,
    )
    answers = trained_here(job)
    execution = answers.trained[0].facts["execution"]
    assert execution["deterministic"] and 0.2 < execution["deterministic_cost"] < 20
    trial = SimpleNamespace(block=0, extra={**answers.facts, "execution": execution})
    context: Any = SimpleNamespace(earlier=lambda cell: [trial])
    found = _found_earlier(cast(Any, SimpleNamespace(cell=None)), context)
    assert found["deterministic_cost"] == execution["deterministic_cost"]
    beat = Heartbeat(lambda text: None)
    tuning = Tuning(replace(job, tuned=found), beat, lambda **facts: None)
    assert tuning.deterministic_cost == execution["deterministic_cost"]


def test_cublas_is_told_before_the_process_begins() -> None:
    job: Any = SimpleNamespace(threads=1, kernels=False, deterministic=True)
    assert _environment(job)["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    job.deterministic = False
    assert "CUBLAS_WORKSPACE_CONFIG" not in _environment(job)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [((), True), (("--deterministic",), True), (("--no-deterministic",), False)],
)
def test_the_option_wins_over_the_plan(
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[str, ...],
    wanted: bool,
) -> None:
    plan, seen = tmp_path / "mine.toml", list[Plan]()
    plan.write_text('deterministic = true\nbackbones = ["resnet18/dense"]\n')

    def check(chosen: Plan) -> None:
        seen.append(chosen)
        raise SparsebenchError("enough")

    monkeypatch.setattr("sparsebench.bench.plan.validation.check", check)
    assert cli("run", plan, *options).code == 2
    assert seen[0].section("full", FullSettings).deterministic is wanted


def test_the_record_and_the_table_tell() -> None:
    plan = Plan(
        backbones=("resnet18/dense",),
        engines=("torch",),
        workloads=("full", "linear-online"),
    ).with_changes(deterministic=True)
    full, online = expand(plan)
    assert _settings(plan, full)["deterministic"] is True
    assert "deterministic" not in _settings(plan, online)
    assert "deterministic" not in _settings(plan.with_changes(deterministic=False), full)

    def section(*executions: Any) -> Any:
        rows = [SimpleNamespace(record=SimpleNamespace(extra={"execution": e})) for e in executions]
        return SimpleNamespace(rows=rows)

    assert _determinism(section(None, {"threads": 2})) == []
    (said,) = _determinism(section({"deterministic_cost": 1.118}, {"deterministic_cost": 1.0}))
    assert "1.00-1.12 times a step" in said
