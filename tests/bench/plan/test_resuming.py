"""What may change when a run goes on: the number of blocks, unless it deals the seeds again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sparsebench.bench.plan.baselines import with_baselines
from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.plan import Plan, plan_from_dict, plan_to_toml
from sparsebench.bench.plan.resuming import same_plan
from sparsebench.bench.records import RunFolder, Trial
from sparsebench.bench.workloads.stepwise import seeds_of_block
from sparsebench.models.errors import SparsebenchError

TRAINING = Plan(
    backbones=("resnet18/dense",),
    engines=("torch",),
    workloads=("inference", "full", "linear-online"),
    seeds=(1, 2, 3),
    repeats=2,
)


def begun(plan: Plan, folder: Path) -> Path:
    (folder / "plan.toml").write_text(plan_to_toml(plan))
    return folder


@pytest.mark.parametrize("repeats", [1, 3, 5])
def test_repeats_that_deal_the_seeds_of_a_training_anew_are_refused(
    tmp_path: Path, repeats: int
) -> None:
    """Seen: such trainings began again, as other cells beside the old ones."""
    folder = begun(TRAINING, tmp_path)
    changed = TRAINING.with_changes(repeats=repeats)
    with pytest.raises(SparsebenchError, match="full, linear-online over 2 repeats") as error:
        same_plan(changed, folder)
    assert f"with {repeats} every block" in error.value.cause
    assert "--repeats 2" in error.value.fix
    without = {"workloads": ("inference", "linear-cached")}
    same_plan(changed.with_changes(**without), begun(TRAINING.with_changes(**without), tmp_path))


def test_more_repeats_than_seeds_prolong_a_training_with_the_same_cells(tmp_path: Path) -> None:
    earlier, later = (TRAINING.with_changes(repeats=number) for number in (3, 7))
    same_plan(later, begun(earlier, tmp_path))
    assert [cell.id for cell in expand(later)] == [cell.id for cell in expand(earlier)]
    for block in range(3):
        assert seeds_of_block(later, block) == seeds_of_block(earlier, block)
    assert [seeds_of_block(later, block) for block in range(3, 7)] == [(1,), (2,), (3,), (1,)]


def test_fewer_repeats_than_seeds_are_part_of_a_trainings_identity() -> None:
    inference, *trainings = expand(TRAINING)
    inference_3, *trainings_3 = expand(TRAINING.with_changes(repeats=3))
    assert inference.id == inference_3.id
    assert not {cell.id for cell in trainings} & {cell.id for cell in trainings_3}


def test_another_plan_is_refused_with_what_differs(tmp_path: Path) -> None:
    folder = begun(TRAINING, tmp_path)
    same_plan(TRAINING, folder)
    same_plan(TRAINING.with_changes(call_timeout=5.0), folder)
    with pytest.raises(SparsebenchError, match="different: batch_size"):
        same_plan(TRAINING.with_changes(batch_size=4), folder)


PRUNED = Plan(backbones=("resnet18/gmp-90",), engines=("onnxruntime",), workloads=("inference",))


def trial_of(cell: str) -> Trial:
    return Trial(
        cell=cell,
        run="r",
        workload="inference",
        block=0,
        launch="l",
        order=0,
        warmup=(),
        seconds=(1.0,),
        items=1,
        stages={},
        started="2026-01-01T00:00:00Z",
    )


def baselines_measured(plan: Plan) -> set[str]:
    return {cell.backbone for cell in expand(plan) if cell.card.family == "dense"}


def test_a_resolved_plan_names_its_baselines() -> None:
    plan = with_baselines(PRUNED)
    assert plan.dense == {"resnet18/gmp-90": "resnet18/dense+epochs17"}
    assert expand(plan) == expand(PRUNED)
    again = plan_from_dict(tomllib.loads(plan_to_toml(plan)), "the same")
    assert again == plan
    assert with_baselines(plan) == plan


@pytest.mark.parametrize("written", [True, False])
def test_a_run_that_goes_on_keeps_its_baselines_and_adds_no_cells(
    tmp_path: Path, written: bool
) -> None:
    """Seen: resuming a folder from before the zoo had a second dense network added its cells."""
    plain = PRUNED.with_changes(dense={"resnet18/gmp-90": "resnet18/dense"})
    begun(plain if written else PRUNED, tmp_path)
    with RunFolder.open(tmp_path, resume=True) as folder:
        for cell in expand(plain):
            folder.append_trial(trial_of(cell.id))
    resumed = same_plan(PRUNED, tmp_path)
    assert expand(resumed) == expand(plain)
    assert resumed.dense == plain.dense


def test_a_folder_of_today_s_baselines_or_of_none_yet_keeps_today_s(tmp_path: Path) -> None:
    begun(PRUNED, tmp_path)
    assert baselines_measured(same_plan(PRUNED, tmp_path)) == {"resnet18/dense+epochs17"}
    with RunFolder.open(tmp_path, resume=True) as folder:
        for cell in expand(PRUNED):
            folder.append_trial(trial_of(cell.id))
    assert baselines_measured(same_plan(PRUNED, tmp_path)) == {"resnet18/dense+epochs17"}


def test_another_baseline_for_a_begun_run_is_refused(tmp_path: Path) -> None:
    begun(with_baselines(PRUNED), tmp_path)
    with pytest.raises(SparsebenchError, match="different: dense"):
        same_plan(PRUNED.with_changes(dense={"resnet18/gmp-90": "resnet18/dense"}), tmp_path)
