from __future__ import annotations

import pytest
import torch

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.sparsify.lth import LotteryTicket, levels, rounds
from sparsebench.models.sparsify.method import Recipe
from sparsebench.models.sparsify.train import Execution, train
from tests.models.sparsify.tiny import network, random_images, start_run, weights_of


def test_a_fifth_of_what_remains_is_removed_in_each_round() -> None:
    # Chen et al.'s tickets: 79.0 % after 7 rounds, 89.3 % after 10, 95.6 % after 14.
    for count, published in ((7, 0.790), (10, 0.893), (14, 0.956)):
        assert levels(1 - 0.8**count)[-1] == pytest.approx(published, abs=5e-4)
        assert len(levels(1 - 0.8**count)) == count
    assert levels(0.5) == pytest.approx([0.2, 0.36, 0.488, 0.5])


def test_the_first_round_prunes_the_start_and_the_last_is_at_the_very_end() -> None:
    assert rounds(300, [0.2, 0.36, 0.488, 0.5]) == {0: 0.2, 100: 0.36, 200: 0.488}


def test_the_ticket_is_the_start_times_the_mask() -> None:
    torch.manual_seed(0)
    module = network()
    start = {n: t.clone() for n, t in module.state_dict().items()}
    method = LotteryTicket(0.6)
    recipe = Recipe(batch_size=8, learning_rate=0.05)
    execution = Execution(precision="fp32", report_steps=1)
    reports = train(
        module, weights_of(module), random_images(), method, recipe, 8, execution=execution
    )
    masks = mask_of(module)
    for name, tensor in module.state_dict().items():
        expected = start[name] * masks[name] if name in masks else start[name]
        assert torch.equal(tensor, expected), name
    assert abs(sparsity(masks) - 0.6) < 0.001
    assert bool(masks["0.weight"].all())  # first convolution and classifier stay dense
    assert bool(masks["7.weight"].all())
    # It is no one-shot pruning of the start: training in between chose otherwise.
    size = start["3.weight"].abs().flatten()
    largest = torch.zeros_like(size, dtype=torch.bool)
    largest[torch.topk(size, int(masks["3.weight"].sum())).indices] = True
    assert not torch.equal(largest.view_as(masks["3.weight"]), masks["3.weight"])
    assert reports[-1].sparsity > reports[0].sparsity


def test_momentum_is_forgotten_when_a_round_begins() -> None:
    run = start_run(network(), total_steps=60, steps_per_epoch=10)
    method = LotteryTicket(0.5)
    method.on_start(run)
    for parameter in run.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    method.before_step(run, 0)
    for state in run.optimizer.state.values():
        assert not bool(state["momentum_buffer"].any())


def test_a_sparsity_that_dense_layers_forbid_is_refused() -> None:
    run = start_run(network(), 60, 10)
    with pytest.raises(SparsebenchError, match="leaves the first convolution and the classifier"):
        LotteryTicket(0.85).on_start(run)
