"""Both ways to train against separate plain PyTorch loops, one a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads import LinearHeads, LinearRecipe, train_sgd
from sparsebench.bench.heads.sgd import EXECUTIONS
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.models.errors import SparsebenchError, UnknownNameError


@pytest.fixture(params=EXECUTIONS)
def execution(request: pytest.FixtureRequest) -> str:
    """The kernel, then PyTorch."""
    if request.param == "native" and find_compiler() is None:
        pytest.skip("no C++ compiler")
    return str(request.param)


def blobs(
    count: int = 150, width: int = 20, classes: int = 4, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features as after a ReLU, and labels they partly tell."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=count)
    labels[:classes] = range(classes)
    centres = generator.normal(size=(classes, width))
    features = np.maximum(0, centres[labels] + generator.normal(size=(count, width)))
    return features.astype(np.float32), labels.astype(np.int64)


def plain_loop(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    recipe: LinearRecipe,
    seed: int,
) -> tuple[torch.nn.Linear, list[float]]:
    """The reference: autograd, ``torch.optim.SGD``, ``torch.optim.lr_scheduler``."""
    rows, targets = torch.from_numpy(features), torch.from_numpy(labels)
    torch.manual_seed(seed)
    head = torch.nn.Linear(rows.shape[1], classes)
    optimizer = torch.optim.SGD(
        head.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, recipe.milestones or [10**6], recipe.gamma
    )
    losses = []
    for _ in range(recipe.epochs):
        total = 0.0
        for batch in torch.randperm(len(rows)).split(recipe.batch_size):  # type: ignore[no-untyped-call]
            loss = torch.nn.functional.cross_entropy(head(rows[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(rows))
        scheduler.step()
    return head, losses


@pytest.mark.parametrize(
    ("count", "width", "classes", "batch_size"),
    [
        (150, 20, 4, 64),
        (128, 15, 2, 64),
        (60, 33, 7, 64),
        (65, 16, 10, 64),
        (50, 31, 3, 1),
        (70, 1100, 13, 17),
        (90, 130, 29, 100),
    ],
)
def test_every_seed_is_what_its_own_plain_loop_gives(
    count: int, width: int, classes: int, batch_size: int, execution: str
) -> None:
    features, labels = blobs(count, width, classes)
    recipe = LinearRecipe(
        epochs=12, batch_size=batch_size, lr=0.05, milestones=(5, 9), seeds=(21, 51, 81)
    )
    heads = train_sgd(features, labels, classes, recipe, execution=execution)
    assert heads.weights.shape == (3, classes, width)
    assert heads.trained_by.startswith(execution)
    assert heads.weights.dtype == np.float32
    for index, seed in enumerate(recipe.seeds):
        head, losses = plain_loop(features, labels, classes, recipe, seed)
        assert np.abs(heads.weights[index] - head.weight.detach().numpy()).max() < 2e-5
        assert np.abs(heads.bias[index] - head.bias.detach().numpy()).max() < 2e-5
        # A float next to 1 is 6e-8 away from it, and a small loss is the logarithm of such a one.
        assert heads.losses[:, index] == pytest.approx(losses, rel=1e-4, abs=3e-8)


def test_the_papers_whole_schedule_stays_together_with_the_plain_loop(execution: str) -> None:
    features, labels = blobs(200, 24, 5)
    recipe = LinearRecipe(seeds=(21, 51))
    heads = train_sgd(features, labels, 5, recipe, execution=execution)
    plain = replace(recipe, milestones=(51, 101))
    for index, seed in enumerate(recipe.seeds):
        head, _ = plain_loop(features, labels, 5, plain, seed)
        assert np.abs(heads.weights[index] - head.weight.detach().numpy()).max() < 1e-4


def test_a_seed_gives_the_same_alone_and_among_others(execution: str) -> None:
    features, labels = blobs()
    recipe = LinearRecipe(epochs=5)
    together = train_sgd(features, labels, 4, recipe, execution=execution)
    alone = train_sgd(features, labels, 4, replace(recipe, seeds=(81,)), execution=execution)
    assert np.abs(together.weights[2] - alone.weights[0]).max() < 1e-6


def test_training_leaves_the_global_generator_alone(execution: str) -> None:
    features, labels = blobs()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train_sgd(features, labels, 4, LinearRecipe(epochs=1), execution=execution)
    assert torch.equal(torch.rand(3), expected)


def test_it_is_the_same_twice(execution: str) -> None:
    features, labels = blobs()
    recipe = LinearRecipe(epochs=3)
    first, second = (train_sgd(features, labels, 4, recipe, execution=execution) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)


def test_features_mapped_read_only_will_do(execution: str) -> None:
    features, labels = blobs()
    features.flags.writeable = False
    heads = train_sgd(features, labels, 4, LinearRecipe(epochs=1), execution=execution)
    assert np.isfinite(heads.weights).all()


def test_every_epoch_can_be_looked_at(execution: str) -> None:
    features, labels = blobs()
    seen: list[tuple[int, float, int]] = []

    def look(epoch: int, heads: LinearHeads) -> None:
        agree = (heads.predict(features) == labels).mean()
        seen.append((epoch, float(agree), len(heads.losses)))

    recipe = LinearRecipe(epochs=4, lr=0.1)
    final = train_sgd(features, labels, 4, recipe, on_epoch=look, execution=execution)
    assert [(epoch, losses) for epoch, _, losses in seen] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert seen[-1][1] == pytest.approx((final.predict(features) == labels).mean())
    shorter, longer = (
        train_sgd(
            features,
            labels,
            4,
            replace(recipe, epochs=epochs, milestones=(10,)),
            execution=execution,
        )
        for epochs in (2, 4)
    )
    assert np.array_equal(shorter.losses, longer.losses[:2])


def test_a_diverging_rate_is_named_with_its_step(execution: str) -> None:
    features, labels = blobs()
    recipe = LinearRecipe(epochs=200, lr=1e30, seeds=(21, 51))
    with pytest.raises(SparsebenchError, match=r"diverged.*epoch \d+, step \d+.*rate 1e\+30") as e:
        train_sgd(features, labels, 4, recipe, execution=execution)
    assert "smaller learning rate" in e.value.fix


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_out_of_range_are_refused(label: int) -> None:
    features, labels = blobs()
    labels[3] = label
    with pytest.raises(SparsebenchError, match=f"label {label} is out of range for 4 classes"):
        train_sgd(features, labels, 4, LinearRecipe())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features, labels = blobs()
    features[17, 3] = value
    with pytest.raises(SparsebenchError, match="not finite"):
        train_sgd(features, labels, 4, LinearRecipe())


def test_no_images_or_one_class_are_refused() -> None:
    features, labels = blobs()
    with pytest.raises(SparsebenchError, match="0 images"):
        train_sgd(features[:0], labels[:0], 4, LinearRecipe())
    with pytest.raises(SparsebenchError, match="1 classes"):
        train_sgd(features, labels * 0, 1, LinearRecipe())


def test_an_unknown_execution_is_refused() -> None:
    features, labels = blobs()
    with pytest.raises(UnknownNameError, match="native"):
        train_sgd(features, labels, 4, LinearRecipe(), execution="nativ")
