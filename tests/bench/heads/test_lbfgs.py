"""L-BFGS against scikit-learn's optimum of the same function."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from sparsebench.bench.heads import LinearRecipe, train_lbfgs, train_sgd
from sparsebench.models.errors import SparsebenchError
from tests.bench.heads.test_sgd import blobs


def objective(
    weights: NDArray[np.float64],
    bias: NDArray[np.float64],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    l2: float,
) -> float:
    """Mean cross-entropy and penalty, written down once more in float64."""
    scores = features.astype(float) @ weights.astype(float).T + bias
    scores -= scores.max(axis=1, keepdims=True)
    own = scores[np.arange(len(labels)), labels]
    loss = (np.log(np.exp(scores).sum(axis=1)) - own).mean()
    return float(loss + l2 / 2 * (weights.astype(float) ** 2).sum())


@pytest.mark.parametrize("l2", [5e-4, 1e-2, 1.0])
@pytest.mark.parametrize(("classes", "scale"), [(4, 1.0), (3, 100.0), (10, 0.01)])
def test_it_finds_scikit_learns_optimum(classes: int, scale: float, l2: float) -> None:
    features, labels = blobs(300, 20, classes)
    features = features * np.float32(scale) + np.float32(3 * scale)  # far from centred
    l2 = l2 * scale**2
    reference = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-10, max_iter=20_000)
    reference.fit(features.astype(float), labels)
    heads = train_lbfgs(features, labels, classes, LinearRecipe(weight_decay=l2))
    best = objective(reference.coef_, reference.intercept_, features, labels, l2)
    found = objective(heads.weights[0], heads.bias[0], features, labels, l2)
    assert found == pytest.approx(best, rel=1e-4, abs=1e-6)
    centre = reference.coef_ - reference.coef_.mean(axis=0)  # classes share one free direction
    assert np.abs(heads.weights[0] - centre).max() < 0.01 * np.abs(centre).max()
    agree = heads.predict(features)[0] == reference.predict(features.astype(float))
    assert agree.mean() > 0.99


def test_the_last_loss_is_the_objective_at_the_solution() -> None:
    features, labels = blobs()
    heads = train_lbfgs(features, labels, 4, LinearRecipe())
    found = objective(heads.weights[0], heads.bias[0], features, labels, 5e-4)
    assert heads.losses.min() == pytest.approx(found, rel=1e-4)


def test_it_goes_lower_than_sgd_on_what_both_minimise() -> None:
    features, labels = blobs(400, 30, 6)
    recipe = LinearRecipe(seeds=(21,))
    sgd = train_sgd(features, labels, 6, recipe)
    lbfgs = train_lbfgs(features, labels, 6, recipe)
    both = [objective(h.weights[0], h.bias[0], features, labels, 5e-4) for h in (lbfgs, sgd)]
    assert both[0] < both[1]


@pytest.mark.parametrize(("count", "width", "most"), [(600, 60, 40), (30, 300, 500)])
def test_features_that_depend_on_each_other_take_few_steps(
    count: int, width: int, most: int
) -> None:
    """60 directions over 2.5 powers of ten: alone, L-BFGS takes 237 steps to a higher loss.

    Where features are many and images few the Hessian costs more than it saves.
    """
    features, labels = blobs(count, 60, 4)
    generator = np.random.default_rng(1)
    labels = np.where(generator.random(count) < 0.3, generator.integers(0, 4, count), labels)
    mixing = np.linalg.qr(generator.normal(size=(width, 60)))[0].T
    features = (features * np.logspace(0, -2.5, 60) @ mixing).astype(np.float32)
    heads = train_lbfgs(features, labels, 4, LinearRecipe(weight_decay=1e-5))
    reference = LogisticRegression(C=1 / (1e-5 * count), tol=1e-10, solver="newton-cholesky")
    reference.fit(features.astype(float), labels)
    best = objective(reference.coef_, reference.intercept_, features, labels, 1e-5)
    found = objective(heads.weights[0], heads.bias[0], features, labels, 1e-5)
    assert found == pytest.approx(best, rel=1e-4, abs=1e-5)
    assert len(heads.losses) < most


def test_every_seed_gets_the_one_optimum() -> None:
    features, labels = blobs()
    heads = train_lbfgs(features, labels, 4, LinearRecipe(seeds=(1, 2, 3)))
    assert heads.weights.shape == (3, 4, 20)
    assert np.array_equal(heads.weights[0], heads.weights[2])
    again = train_lbfgs(features, labels, 4, LinearRecipe(seeds=(9,)))
    assert np.array_equal(heads.weights[0], again.weights[0])


def test_features_that_are_all_the_same_give_the_class_shares() -> None:
    """With nothing to tell classes by, the optimum is the logarithm of their frequency."""
    labels = np.array([0] * 10 + [1] * 30 + [2] * 60)
    heads = train_lbfgs(np.ones((100, 5), np.float32), labels, 3, LinearRecipe())
    scores = heads.weights[0].sum(axis=1) + heads.bias[0]
    shares = np.exp(scores) / np.exp(scores).sum()
    assert shares == pytest.approx([0.1, 0.3, 0.6], abs=1e-3)


def test_separable_classes_without_a_penalty_end_at_the_iteration_limit() -> None:
    features, labels = blobs(40, 30, 2)
    heads = train_lbfgs(features, labels, 2, LinearRecipe(weight_decay=0, max_iterations=50))
    assert np.isfinite(heads.weights).all()
    assert (heads.predict(features)[0] == labels).all()


def test_senseless_input_is_refused() -> None:
    features, labels = blobs()
    with pytest.raises(SparsebenchError, match="out of range"):
        train_lbfgs(features, labels, 3, LinearRecipe())
