from __future__ import annotations

from typing import Any

import pytest

from sparsebench.bench.heads import LinearRecipe
from sparsebench.models.errors import SparsebenchError, UnknownNameError


def test_the_defaults_are_the_papers() -> None:
    """PAPER: rate 0.01 for epochs 0-50, 0.001 for 51-100, 0.0001 for 101-149."""
    recipe = LinearRecipe()
    rates = recipe.rates()
    assert len(rates) == 150
    assert [round(rate, 8) for rate in rates] == [0.01] * 51 + [0.001] * 50 + [0.0001] * 49
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (64, 0.9, 5e-4)
    assert recipe.seeds == (21, 51, 81, 111, 141)


def test_a_shorter_schedule_keeps_its_proportions() -> None:
    rates = [round(rate, 8) for rate in LinearRecipe(epochs=30).rates()]
    assert rates == [0.01] * 10 + [0.001] * 10 + [0.0001] * 10


def test_given_milestones_are_kept() -> None:
    rates = LinearRecipe(epochs=5, milestones=(2, 4), gamma=0.5, lr=1).rates()
    assert rates == [1, 1, 0.5, 0.5, 0.25]


def test_an_unknown_solver_offers_the_known() -> None:
    with pytest.raises(UnknownNameError, match="lbfgs"):
        LinearRecipe(solver="lbgfs")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", 0),
        ("lr", 0),
        ("lr", float("nan")),
        ("lr", "fast"),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-4),
        ("gamma", float("inf")),
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("seeds", (1.5,)),
        ("seeds", (-1,)),
        ("milestones", (5, 3)),
        ("milestones", (0,)),
        ("max_iterations", 0),
        ("tolerance", -1.0),
    ],
)
def test_values_that_make_no_sense_are_named(name: str, value: Any) -> None:
    with pytest.raises(SparsebenchError, match=f"{name} = ") as caught:
        LinearRecipe(**{name: value})
    assert caught.value.fix.startswith("Give ")
