from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsebench.bench.heads import LinearHeads, LinearRecipe, evaluate, fit_heads
from sparsebench.models.errors import UnknownNameError
from tests.bench.heads.test_sgd import blobs


def constant_heads(*favourites: int, classes: int = 3) -> LinearHeads:
    """Heads that give every image the same class."""
    bias = np.zeros((len(favourites), classes), np.float32)
    bias[np.arange(len(favourites)), favourites] = 1
    weights = np.zeros((len(favourites), classes, 2), np.float32)
    return LinearHeads(weights, bias, tuple(range(len(favourites))), np.zeros((0, 1)))


def test_the_two_metrics_by_hand() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    features = np.zeros((10, 2), np.float32)
    heads = constant_heads(0, 2)
    top1 = evaluate(heads, features, labels, "top1")
    assert top1.accuracy == pytest.approx((60.0, 10.0))
    per_class = evaluate(heads, features, labels, "mean_per_class")
    assert per_class.accuracy == pytest.approx((100 / 3, 100 / 3))
    assert per_class.predictions.tolist() == [[0] * 10, [2] * 10]


def test_predictions_are_the_largest_score_of_each_head() -> None:
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(3, 5, 7)).astype(np.float32)
    bias = generator.normal(size=(3, 5)).astype(np.float32)
    features = generator.normal(size=(5000, 7)).astype(np.float32)
    heads = LinearHeads(weights, bias, (1, 2, 3), np.zeros((0, 3)))
    found = heads.predict(features)
    for index in range(3):
        scores = features.astype(float) @ weights[index].astype(float).T + bias[index]
        assert (found[index] == scores.argmax(axis=1)).mean() > 0.999


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        constant_heads(0).predict(np.zeros((4, 3), np.float32))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="'top1'"):
        evaluate(constant_heads(0), np.zeros((3, 2), np.float32), np.zeros(3, np.int64), "top-1")


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_either_solver_learns_and_generalises(solver: str) -> None:
    features, labels = blobs(600, 20, 4)
    recipe = LinearRecipe(solver=solver, epochs=40)
    heads = fit_heads(features[:400], labels[:400], 4, recipe=recipe, seeds=(5, 6))
    assert heads.seeds == (5, 6)
    for metric in ("top1", "mean_per_class"):
        scores = evaluate(heads, features[400:], labels[400:], metric)
        assert len(scores.accuracy) == 2
        assert min(scores.accuracy) > 90


def test_threads_are_set_for_the_training_only() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    features, labels = blobs()
    fit_heads(
        features,
        labels,
        4,
        recipe=LinearRecipe(epochs=1),
        threads=1,
        on_epoch=lambda epoch, heads: seen.append(torch.get_num_threads()),
    )
    assert seen == [1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("images, expected", [(100, 1), (60_000, 2)])
def test_a_small_optimum_takes_one_thread(
    monkeypatch: pytest.MonkeyPatch, images: int, expected: int
) -> None:
    """Two threads that wait for each other after every small step take 20 times as long."""
    seen: list[int] = []

    def train(features: np.ndarray, *others: object) -> LinearHeads:
        seen.append(torch.get_num_threads())
        return constant_heads(0, classes=4)

    monkeypatch.setattr("sparsebench.bench.heads.fit.train_lbfgs", train)
    features, labels = np.zeros((images, 100), np.float32), np.zeros(images, np.int64)
    fit_heads(features, labels, 4, recipe=LinearRecipe(solver="lbfgs"), threads=2)
    assert seen == [expected]


def test_real_digits_reach_what_scikit_learn_reaches_on_the_same_pixels() -> None:
    """An independent logistic regression on independently read pixels, within 2 points."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    from sparsebench.bench.tasks import open_task

    task = open_task("digits")
    scans = load_digits()
    sides = {
        side: (scans.data[np.array(task.split(side).items)] / 16).astype(np.float32)
        for side in ("train", "test")
    }
    reference = LogisticRegression(C=1 / (5e-4 * len(task.train)), max_iter=2000)
    reference.fit(sides["train"], task.train.labels)
    expected = 100 * reference.score(sides["test"], task.test.labels)
    for solver in ("sgd", "lbfgs"):
        heads = fit_heads(sides["train"], task.train.labels, 10, recipe=LinearRecipe(solver=solver))
        found = evaluate(heads, sides["test"], task.test.labels, "top1").accuracy
        assert found == pytest.approx([expected] * 5, abs=2)
