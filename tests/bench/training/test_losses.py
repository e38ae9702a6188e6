"""Losses that are fetched together are those that are fetched one by one."""

from __future__ import annotations

import math

import pytest
import torch

from sparsebench.bench.training.losses import LossLedger, steps_between_fetches
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.models.errors import SparsebenchError

RECIPE = TrainRecipe("paper", 1, 0.5, 4)


def ledger(every: int) -> LossLedger:
    return LossLedger(RECIPE, seed=7, epoch=3, every=every)


@pytest.mark.parametrize("every", [1, 2, 5, 100])
def test_the_mean_weighs_batches_by_their_images(every: int) -> None:
    losses = ledger(every)
    for step, (loss, images) in enumerate([(2.0, 4), (1.0, 4), (0.5, 2)]):
        losses.add([torch.tensor(loss)], images=images, step=step, rate=0.1)
        if losses.full:
            losses.fetch()
    losses.fetch()
    assert losses.mean(10) == (2.0 * 4 + 1.0 * 4 + 0.5 * 2) / 10


def test_the_pieces_of_a_batch_add_up_in_double_precision() -> None:
    shares = [torch.tensor(value) for value in (0.1, 0.2, 0.3)]
    losses = ledger(8)
    losses.add(shares, images=1, step=0, rate=0.1)
    losses.fetch()
    assert losses.mean(1) == float(shares[0]) + float(shares[1]) + float(shares[2])


def test_it_is_full_after_so_many_steps_and_empty_after_a_fetch() -> None:
    losses, seen = ledger(3), []
    for step in range(7):
        losses.add([torch.tensor(1.0)], images=1, step=step, rate=0.1)
        seen.append(losses.full)
        if losses.full:
            losses.fetch()
    assert seen == [False, False, True, False, False, True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_no_number_is_named_by_its_own_step(bad: float) -> None:
    losses = ledger(4)
    for step, loss in enumerate([1.0, bad, math.nan, 1.0]):
        losses.add([torch.tensor(1.0), torch.tensor(loss)], images=2, step=step, rate=0.1 * step)
    with pytest.raises(SparsebenchError, match=r"seed 7, epoch 3, step 1, learning rate 0\.1\)"):
        losses.fetch()


def test_only_a_gpu_waits() -> None:
    assert steps_between_fetches("cpu") == 1
    assert steps_between_fetches("cuda") == steps_between_fetches("cuda:1") > 10


def test_never_to_fetch_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="every 0"):
        ledger(0)
