"""A preset keeps to minutes: large networks get fewer images and smaller batches, and it is said.

A ResNet-18 takes 1.82 billion multiply-adds for an image of 224 px (torchvision's page of models:
1.81), and 49 / 4 times less at 64 px.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsebench.bench.plan.downsized import beside_small, downsized
from sparsebench.bench.plan.plan import Plan, load_plan, plan_to_toml
from sparsebench.bench.plan.resuming import same_plan
from sparsebench.models.errors import SparsebenchError

ON_DIGITS = 1797  # images of scikit-learn's digits, 10 classes


def quick(**changes: object) -> Plan:
    return load_plan("quick").with_changes(backbones=("resnet18/gmp_uniform-90",), **changes)


def test_what_is_small_stays_as_it_is() -> None:
    plan, told = downsized(quick())
    assert (plan.batch_size, plan.limit, told) == (64, 0, "")


def test_a_large_network_gets_fewer_images_and_smaller_batches() -> None:
    plan, told = downsized(quick(size=224))
    assert (plan.batch_size, plan.limit) == (16, 380)  # 32 / 1.81 = 17.6; 700 / 1.81 = 386
    for word in ("1.8 billion", f"380 of the {ON_DIGITS:,}", "--limit 0", "--batch-size 64"):
        assert word in told


@pytest.mark.parametrize(
    "given, batch, limit",
    [({"limit": 500}, 16, 500), ({"limit": 0}, 16, 0), ({"batch_size": 64}, 64, 380)],
)
def test_what_is_named_stays(given: dict[str, int], batch: int, limit: int) -> None:
    plan, _ = downsized(quick(size=224, **given))
    assert (plan.batch_size, plan.limit) == (batch, limit)


def test_enough_images_are_left_to_score_a_network() -> None:
    plan, _ = downsized(quick(size=224, task_gmacs=1.0))
    assert plan.limit == 200


def test_a_very_large_network_is_said_in_digits() -> None:
    """A timm:samvit_base_patch16 took "3.7e+02 billion"."""
    assert "takes 150 billion multiply-adds" in downsized(quick(size=2048))[1]  # 1.82 (2048/224)^2


def test_the_largest_network_of_a_plan_counts() -> None:
    """A ResNet-50 takes 4.09 billion (torchvision): 700 / 4.09 = 171, and 200 at least."""
    names = ("resnet18/gmp_uniform-90", "resnet50/uniform-90@generated")
    plan, _ = downsized(load_plan("quick").with_changes(backbones=names, size=224))
    assert (plan.batch_size, plan.limit) == (16, 200)


def test_a_run_that_goes_on_stands_for_the_same_cells(tmp_path: Path) -> None:
    plan, _ = downsized(quick(size=224))
    (tmp_path / "plan.toml").write_text(plan_to_toml(plan))
    again = load_plan(str(tmp_path / "plan.toml"))
    assert downsized(again) == (again, "")
    assert (again.batch_size, again.limit) == (16, 380)


@pytest.mark.parametrize(("batch", "limit"), [(64, 0), (16, 400)])
def test_a_run_that_was_begun_otherwise_goes_on_as_it_was_begun(
    tmp_path: Path, batch: int, limit: int
) -> None:
    """By a version without the rules, or before its folder of images grew."""
    begun = quick(size=224, batch_size=batch, limit=limit)
    (tmp_path / "plan.toml").write_text(plan_to_toml(begun))
    again = same_plan(quick(size=224), tmp_path)
    assert (again.batch_size, again.limit) == (batch, limit)
    with pytest.raises(SparsebenchError, match="another plan"):
        same_plan(quick(size=224, limit=300), tmp_path)


def test_larger_networks_are_guessed_to_take_longer() -> None:
    assert beside_small(quick()) == pytest.approx(1, abs=0.02)
    larger, _ = downsized(quick(size=224))
    assert beside_small(larger) == pytest.approx(0.5 + 0.5 * 16 * 1.81 / 9.5, abs=0.03)
