"""Online linear training against a plain PyTorch loop, and through a real engine contract."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.online import OnlineHead, train_online
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import decode_task
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError

CARD = Preprocessing(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class MeanColour:
    """An engine of the simplest kind: the mean of each channel, ten times."""

    batch_size = 5
    feature_dim = 30
    input_shape = (3, 16, 16)

    def __init__(self) -> None:
        self.waiting: deque[NDArray[np.float32]] = deque()
        self.threads_beside: set[int] = set()

    def submit(self, images: NDArray[np.float32]) -> None:
        assert len(images) <= self.batch_size and len(self.waiting) < 2
        self.waiting.append(np.tile(images.mean(axis=(2, 3)), 10))

    def collect(self) -> tuple[NDArray[np.float32], float]:
        self.threads_beside.add(torch.get_num_threads())
        return self.waiting.popleft(), 0.001


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_head_is_a_torch_linear_under_sgd(nesterov: bool) -> None:
    recipe = TrainRecipe("paper", 1, 0.1, nesterov=nesterov)
    ours = OnlineHead(7, 4, recipe, seed=5)
    torch.manual_seed(5)
    theirs = torch.nn.Linear(7, 4)
    optimizer = torch.optim.SGD(
        theirs.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=nesterov
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.normal(size=(9, 7)).astype(np.float32)
        y = rng.integers(0, 4, 9)
        loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        assert ours.step(x, torch.from_numpy(y), 0.1) == pytest.approx(
            float(loss.detach()), rel=1e-4
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.testing.assert_close(ours.weights[:, :-1], theirs.weight.detach())
    torch.testing.assert_close(ours.weights[:, -1], theirs.bias.detach())
    x = rng.normal(size=(50, 7)).astype(np.float32)
    assert torch.equal(ours.predict(x), theirs(torch.from_numpy(x)).argmax(1))


def test_a_training_end_to_end(images: Path) -> None:
    task, clock = open_task(str(images)), StageClock()
    data = decode_task(task, CARD, 0.2, threads=2, clock=clock)
    recipe = TrainRecipe("short", 4, 0.3)
    engine = MeanColour()
    done = train_online(
        engine, data, recipe, OnlineHead(30, 2, recipe, 1), seed=1, threads=2, clock=clock
    )
    assert done.last == done.best == 1.0  # dark and light: anything can tell
    assert sum(done.stages.values()) == pytest.approx(done.seconds)
    assert {"decode", "augment", "extract", "head", "evaluate"} <= set(done.stages)
    assert len(done.epochs) == 4 and done.epochs[-1].loss < done.epochs[0].loss
    assert [e.elapsed for e in done.epochs] == sorted(e.elapsed for e in done.epochs)
    assert not engine.waiting


def test_the_head_leaves_the_cores_to_the_engine(images: Path) -> None:
    """Seen: 3.2 of 7.8 s in the head, whose second thread waited for the engine's."""
    task, clock = open_task(str(images)), StageClock()
    data = decode_task(task, CARD, 0.2, threads=2, clock=clock)
    engine, before = MeanColour(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        recipe = TrainRecipe("short", 1, 0.3)
        head = OnlineHead(30, 2, recipe, 1)
        train_online(engine, data, recipe, head, seed=1, threads=2, clock=clock)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert engine.threads_beside == {1}


def test_a_rate_that_diverges_says_where(images: Path) -> None:
    task, clock = open_task(str(images)), StageClock()
    data = decode_task(task, CARD, 0.0, threads=1, clock=clock)
    engine, recipe = MeanColour(), TrainRecipe("paper", 9, 1e30)
    head = OnlineHead(30, 2, recipe, 1)
    with pytest.raises(
        SparsebenchError, match=r"seed 1, epoch \d+, step \d+, learning rate 1e\+30"
    ):
        train_online(engine, data, recipe, head, seed=1, threads=1, clock=clock)
    assert not engine.waiting
