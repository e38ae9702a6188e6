"""What ``--show-recipe`` prints, and SparseML 1.8.0's numbers beside ours.

The numbers were computed by SparseML's own functions (named beside them) in an environment of
their own; it does not install beside current packages.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sparsebench.models.distributions import erk
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.plans import read_plan
from sparsebench.models.sparsify.recipes import render_recipe
from sparsebench.models.sparsify.schedule import cubic_sparsity


def test_cubic_schedule_is_sparsemls() -> None:
    # sparseml.utils.helpers.interpolate(t, 1, 40, 0.05, 0.9, "cubic") at the eight prunings of
    # WoodFisher's ResNet-50, and at the end.
    theirs = [
        0.05,
        0.3368010249667054,
        0.5505225981557343,
        0.701911697769686,
        0.8017153020111599,
        0.860680389082756,
        0.8895539371870733,
        0.8990829245267115,
        0.9,
    ]
    times = [*range(1, 40, 5), 40]
    assert [cubic_sparsity(t, 1, 40, 0.05, 0.9) for t in times] == pytest.approx(theirs, abs=1e-12)


def test_erk_is_sparsemls_where_no_layer_is_dense() -> None:
    # RigLPruningParamsScorer.get_sparsity_distribution at sparsity 0.9, "erdos_renyi_kernel".
    theirs = {
        (512, 512, 3, 3): 0.9287887168141593,
        (256, 256, 3, 3): 0.8567477876106195,
        (512, 256, 3, 3): 0.8929756637168141,
        (256, 128, 3, 3): 0.7842920353982301,
    }
    kept = erk({str(shape): shape for shape in theirs}, 0.9)
    for shape, sparsity in theirs.items():
        assert 1 - kept[str(shape)] / math.prod(shape) == pytest.approx(sparsity, abs=1e-5)


@pytest.mark.parametrize("name", METHODS.names())
def test_what_is_shown_is_a_plan_with_every_setting(name: str, tmp_path: Path) -> None:
    level = 0.0 if name == "dense" else 0.9
    text = render_recipe(
        {"arch": "resnet18", "method": name, "sparsity": level, "epochs": 5, "size": 64},
        {"weight_decay": 1e-3, "sides": [[0.0, 48], [0.5, 64]]},
        {"compile": True},
    )
    (tmp_path / "plan.toml").write_text(text)
    plan = read_plan(tmp_path / "plan.toml")
    method = METHODS.load(name)(level)
    assert (plan["arch"], plan["method"], plan["sparsity"]) == ("resnet18", name, level)
    assert (plan["epochs"], plan["size"], plan["seed"]) == (5, 64, 0)
    assert plan["recipe"]["weight_decay"] == 1e-3
    assert plan["recipe"]["sides"] == [[0.0, 48], [0.5, 64]]
    assert plan["recipe"]["learning_rate"] == method.recipe.learning_rate
    assert plan["execution"] == {"compile": True}
    assert method.source in text
    assert ("sparseml" in plan) == (name in ("gmp", "gmp_uniform", "woodfisher"))
    assert "SparseML" in text


def test_sparseml_recipe_says_the_same_as_ours() -> None:
    recipe = METHODS.load("gmp")(0.9).sparseml(100)
    assert recipe is not None
    for line in (
        "- !GlobalMagnitudePruningModifier",
        "init_sparsity: 0.05",
        "final_sparsity: 0.9",
        "start_epoch: 1.0",
        "end_epoch: 40.0",
        "inter_func: cubic",
    ):
        assert line in recipe
    recipe = METHODS.load("woodfisher")(0.95).sparseml(100)
    assert recipe is not None
    for line in ("- !OBSPruningModifier", "fisher_block_size: 2000", "damp: 0.00001"):
        assert line in recipe


def test_wrong_settings_are_refused() -> None:
    settings = {"arch": "resnet18", "method": "gmp", "sparsity": 0.9}
    with pytest.raises(SparsebenchError, match="no setting rate"):
        render_recipe(settings, {"rate": 1}, {})
    with pytest.raises(SparsebenchError, match="resnet18"):
        render_recipe(settings | {"arch": "resnet81"}, {}, {})
