"""A training that diverged to finite numbers is no result; one that shot up and came back is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.divergence import STEPS_ABOVE, LossWatch
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.loop import train_network
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError
from tests.bench.training.small import small_network

CARD = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return decode_task(open_task(str(images)), CARD, 0.2, threads=1, clock=StageClock())


def watched(epochs: Sequence[Sequence[float]], classes: int = 10) -> None:
    watch = LossWatch(TrainRecipe("paper", len(epochs), 0.5), seed=7, classes=classes)
    for epoch, losses in enumerate(epochs):
        for step, loss in enumerate(losses):
            watch.check(loss, epoch=epoch, step=step, rate=0.1 * (step + 1))
        watch.end_epoch(epoch)


def test_a_loss_that_shoots_up_and_comes_back_is_no_divergence() -> None:
    # Guessing among 10 classes costs ln 10 = 2.303 nats, so 23.03 is the limit.
    watched([[2.4, 9e5, 400.0, 90.0], [30.0] * 90, [3.0, 2.0]])
    watched([[0.01, 20.0, 22.0]])  # a first loss near 0 says little of those to come
    watched([[15.1], [150.0]])  # one that begins badly may stay so
    watched([[2.4, 2.0, 1e4]])  # a last batch of few images


def test_a_training_that_ends_far_above_guessing_diverged() -> None:
    """Seen at a learning rate of 100: recorded as a result."""
    with pytest.raises(SparsebenchError, match=r"3\.36e\+06.*seed 7, epoch 1, step 0, learning"):
        watched([[15.1], [3_356_540.0]])
    with pytest.raises(SparsebenchError, match=r"epoch 0, step 1, learning rate 0\.2\)"):
        watched([[2.0, 24.0, 25.0]])


def test_a_loss_that_stays_far_above_ends_the_training_before_its_end() -> None:
    losses = [[2.4, 3.0], [50.0] * STEPS_ABOVE, [2.4]]
    with pytest.raises(SparsebenchError, match=r"epoch 1, step 0, learning rate 0\.1\)"):
        watched(losses)
    losses[1][50] = 3.0
    watched(losses)


def test_many_classes_may_lose_more() -> None:
    watched([[7.0, 60.0, 60.0]], classes=1000)
    with pytest.raises(SparsebenchError, match="smaller learning rate than 0.5"):
        watched([[1.0, 60.0, 60.0]], classes=10)


@pytest.mark.parametrize("every", [1, 50])
def test_a_network_that_diverges_to_finite_numbers_is_refused(
    data: TrainingData, every: int
) -> None:
    recipe = TrainRecipe("paper", 2, 1e4, 5)
    with pytest.raises(SparsebenchError, match=r"diverged.*seed 9, epoch \d, step \d+, learning"):
        train_network(small_network(), data, recipe, Execution(losses_every=every), seed=9)
