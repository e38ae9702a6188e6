"""The sweep: every strength is the training it would be alone; the validation split chooses."""

from __future__ import annotations

import numpy as np
import pytest

from sparsebench.bench.heads.linear_recipe import LinearRecipe
from sparsebench.bench.heads.sgd import train_sgd
from sparsebench.bench.heads.sweep import strongest, sweep
from sparsebench.models.errors import SparsebenchError
from sparsebench.results.scripts.heads import random_task

DECAYS = (0.0, 1e-3, 0.3)


def test_strengths_trained_at_once_are_those_trained_one_by_one() -> None:
    features, labels = random_task(90, 12, 3)
    recipe = LinearRecipe(epochs=4, lr=0.1, seeds=(5,))
    together = train_sgd(features, labels, 3, recipe, weight_decays=DECAYS)
    assert together.weights.shape == (3, 3, 12)
    for number, decay in enumerate(DECAYS):
        alone = train_sgd(
            features, labels, 3, LinearRecipe(epochs=4, lr=0.1, seeds=(5,), weight_decay=decay)
        )
        assert np.allclose(together.weights[number], alone.weights[0], atol=1e-5)
        assert np.allclose(together.losses[:, number], alone.losses[:, 0], atol=1e-5)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_the_strength_that_suits_noise_is_found_on_held_out_images(solver: str) -> None:
    # Few images in many dimensions with faint centres: without a penalty the head learns noise.
    generator = np.random.default_rng(3)
    labels = np.arange(300) % 3
    centres = generator.normal(size=(3, 200)) * 0.2
    features = (centres[labels] + generator.normal(size=(300, 200))).astype(np.float32)
    recipe = LinearRecipe(epochs=30, lr=0.05, solver=solver)
    scores = sweep(features, labels, 3, recipe, (0.0, 1.0), share=0.3, metric="top1")
    assert set(scores) == {0.0, 1.0} and all(0 <= s <= 1 for s in scores.values())
    assert scores[1.0] > scores[0.0]
    assert strongest(scores) == 1.0


def test_of_equals_the_strongest_and_nothing_to_validate_on() -> None:
    assert strongest({0.0: 0.5, 0.1: 0.7, 1.0: 0.7}) == 1.0
    features, labels = random_task(30, 4, 3)
    with pytest.raises(SparsebenchError, match="no images to choose"):
        sweep(features, labels, 3, LinearRecipe(epochs=1), DECAYS, share=0.0, metric="top1")
