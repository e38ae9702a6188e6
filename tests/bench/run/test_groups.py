"""A plan's comparison groups, each as a plan of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsebench.bench.plan.baselines import with_baselines
from sparsebench.bench.plan.cells import expand, launches
from sparsebench.bench.plan.plan import Plan, load_plan, plan_to_toml
from sparsebench.bench.run.groups import files_of, groups_of
from sparsebench.bench.run.run import most_workers
from sparsebench.models.cpus import usable_cpus

PLAN = with_baselines(
    Plan().with_changes(
        backbones=(
            "resnet18/uniform-90@generated",
            "resnet18/erk-90@generated",
            "resnet50/dense@generated",
        ),
        engines=("onnxruntime", "torch:bf16"),
        dense_engines=("openvino",),
        workloads=("inference", "full"),
        tasks=("digits", "flowers5-128"),
        batch_size=(1, 16),
        size=(0, 32),
    )
)


def test_the_plans_of_all_groups_stand_for_the_plan_s_cells() -> None:
    cells = expand(PLAN)
    groups = groups_of(PLAN, cells)
    # task x architecture x batch size x size
    assert len(groups) == 2 * 2 * 2 * 2
    assert sorted(i for group in groups for i in group.ids) == sorted(cell.id for cell in cells)
    for group in groups:
        assert {cell.id for cell in expand(group.plan)} == group.ids, group.label
        assert all(cell.dense in {c.backbone for c in group.cells} for cell in group.cells)


def test_a_group_is_the_same_on_a_machine_of_more_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = groups_of(PLAN, expand(PLAN))
    monkeypatch.setattr("sparsebench.bench.plan.cells.usable_cpus", lambda: usable_cpus() + 6)
    assert {cell.id for cell in expand(groups[0].plan)} == groups[0].ids
    assert not {cell.id for cell in expand(PLAN)} & groups[0].ids


def test_files_of_a_plan_are_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("images", "best.pt"):
        (tmp_path / name).mkdir()
    path = tmp_path / "plan.toml"
    plan = Plan().with_changes(
        backbones=("resnet18/dense@best.pt", "resnet18/dense"), tasks=("images", "digits")
    )
    path.write_text(plan_to_toml(plan))
    assert files_of(load_plan(str(path))) == ["images", "best.pt"]


@pytest.mark.parametrize(("changes", "together"), [({}, True), ({"size": 224}, False)])
def test_all_sessions_of_quick_are_launched_together_where_memory_allows(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], together: bool
) -> None:
    """Ratios between engines need one launch; seen: 16 sessions of 5 GB in all, in eight launches.

    A machine of 24 GiB; images of 224 px take 12 times as much on their way, batches of 64.
    """
    free = SimpleNamespace(available=22.4e9)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    cells = expand(load_plan("quick").with_changes(**changes))
    groups = list(launches(cells, most_workers))
    assert len({cell.worker for cell in cells}) >= 12  # 16 where the processor has bf16 and VNNI
    assert (len(groups) == 1) is together
