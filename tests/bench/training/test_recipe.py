"""Schedules of step-by-step training."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.run.build_records import _settings
from sparsebench.bench.training.recipe import recipe_of, training_preprocessing, training_recipe
from sparsebench.bench.workloads.full import job_of
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError, UnknownNameError

CARD = Preprocessing(64, 72, "bilinear", (0.1, 0.1, 0.1), (0.2, 0.2, 0.2))


def test_the_papers_full_recipe() -> None:
    # PAPER: SGD 0.001, 0.01 for Aircraft and Cars; 51 epochs, then a tenth for 50, then 49.
    recipe = training_recipe("paper", "full", "pets")
    assert (recipe.epochs, recipe.momentum, recipe.weight_decay) == (150, 0.9, 5e-4)
    assert recipe.batch_size == 64 and not recipe.nesterov
    rates = [recipe.rate(epoch, 0.5) for epoch in range(150)]
    assert np.allclose(rates, [1e-3] * 51 + [1e-4] * 50 + [1e-5] * 49)
    for task in ("aircraft", "cars"):
        assert training_recipe("paper", "full", task).lr == 0.01
    assert training_recipe("paper", "linear-online", "pets").lr == 0.01


def test_the_papers_pixel_statistics_belong_to_its_recipe_and_tasks() -> None:
    card = CARD
    paper = training_recipe("paper", "full", "pets")
    made = training_preprocessing(card, paper, "pets")
    # PAPER.md section 3.2, read in the released code.
    assert made.mean == (0.4807, 0.4432, 0.3949) and made.std == (0.2598, 0.2537, 0.2597)
    assert (made.size, made.resize) == (64, 72)
    assert training_preprocessing(card, paper, "my-folder") == card
    assert training_preprocessing(card, training_recipe("short", "full", "pets"), "pets") == card


def test_the_short_recipe_warms_up_and_ends_at_zero() -> None:
    recipe = training_recipe("short", "full", "pets", epochs=10, lr=1.0)
    rates = [recipe.rate(*divmod(done, 1)) for done in np.linspace(0, 9.999, 200)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert int(np.argmax(rates)) == pytest.approx(20, abs=1)  # a tenth of the way
    assert rates[-1] < 1e-4
    # Half a cosine: half the rate half way between warm-up and end.
    assert recipe.rate(5, 0.5) == pytest.approx(0.5)


def test_unknown_recipes_and_senseless_values() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'paper'"):
        training_recipe("papr", "full", "pets")
    with pytest.raises(SparsebenchError, match="makes no sense"):
        training_recipe("short", "full", "pets", lr=float("nan"))


@pytest.mark.parametrize("workload", ["full", "linear-online"])
def test_the_batch_of_a_cell_is_that_of_its_steps_and_of_its_record(workload: str) -> None:
    """Seen: --batch-size 16 recorded 16 for the engine, and trained with 64."""
    plan = Plan(
        backbones=("resnet18/dense",), engines=("torch",), workloads=(workload,), batch_size=16
    )
    (cell,) = expand(plan)
    assert recipe_of(plan, cell).batch_size == cell.batch_size == 16
    assert _settings(plan, cell)["training"]["batch_size"] == 16
    # The paper's is the plans' default.
    assert recipe_of(Plan(), replace(cell, batch_size=Plan().batch_size)).batch_size == 64


def test_a_folder_called_like_a_task_is_not_that_task(tmp_path: Path) -> None:
    """Seen: /data/aircraft was trained with Aircraft's rate and recorded with another one."""
    plan = Plan(backbones=("resnet18/dense",), engines=("torch",), workloads=("full",))
    folder, registered = str(tmp_path / "aircraft"), "aircraft"
    jobs = {}
    for task in (folder, registered):
        mine = replace(plan, tasks=(task,))
        (cell,) = expand(mine)
        ready = SimpleNamespace(
            cell=cell, prepared=SimpleNamespace(backbone=None, preprocessing=CARD)
        )
        context = SimpleNamespace(
            plan=mine, task=SimpleNamespace(name="aircraft"), block=0, earlier=lambda cell: ()
        )
        jobs[task] = job_of(cast(Any, ready), cast(Any, context))
        assert _settings(mine, cell)["training"] == asdict(jobs[task].recipe)
    assert jobs[folder].recipe.lr == 0.001 and jobs[registered].recipe.lr == 0.01
    assert jobs[folder].preprocessing == CARD
    assert jobs[registered].preprocessing.mean == (0.4892, 0.5159, 0.5356)
