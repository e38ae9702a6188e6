from __future__ import annotations

import math

import pytest
import torch

from sparsebench.models.distributions import erk
from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.sparsify.method import Run
from sparsebench.models.sparsify.rigl import (
    RigLKernel,
    RigLUniform,
    drop_and_grow,
    drop_share,
    steps_between,
)
from tests.models.sparsify.tiny import network, start_run

STEPS = 320  # the published 32,000, in hundredths


def one_step(run: Run, method: RigLKernel, step: int) -> bool:
    """A step with random gradients; whether the weights were updated."""
    method.before_step(run, step)
    for parameter in run.module.parameters():
        parameter.grad = torch.randn_like(parameter)
    updated = method.after_backward(run, step)
    if updated:
        run.optimizer.step()
    method.after_step(run, step)
    return updated


def started(method: RigLKernel, steps: int = STEPS) -> Run:
    torch.manual_seed(0)
    run = start_run(network(), steps, 10)
    method.prepare(run)
    method.on_start(run)
    return run


def test_share_follows_half_a_cosine_from_three_tenths() -> None:
    # Equation 1 of the paper at T = 25,000 of 32,000 steps, in closed form.
    assert drop_share(100, 32_000) == pytest.approx(0.15 * (1 + math.cos(math.pi / 250)))
    assert drop_share(12_500, 32_000) == pytest.approx(0.15)
    assert drop_share(24_900, 32_000) == pytest.approx(0.15 * (1 - math.cos(math.pi / 250)))
    assert drop_share(12_550, 32_000) is None  # between two changes
    assert drop_share(25_000, 32_000) is None
    assert drop_share(0, 32_000) is None
    assert steps_between(32_000) == 100


def test_a_short_training_changes_its_mask_too_but_mostly_trains() -> None:
    for steps in (6, 20, 48, 400):
        changes = sum(drop_share(t, steps) is not None for t in range(steps))
        assert 1 <= changes <= steps / 4


@pytest.mark.parametrize("made", [RigLKernel, RigLUniform])
def test_every_layer_keeps_its_number_of_connections(made: type[RigLKernel]) -> None:
    method = made(0.8)
    run = started(method)
    shapes = {n: tuple(w.shape) for n, w in run.weights.items()}
    budget = method.budget(shapes)
    first = {n: m.clone() for n, m in method.masks.items()}
    for step in range(STEPS):
        one_step(run, method, step)
        assert {n: int(m.sum()) for n, m in method.masks.items()} == budget
    assert any(not torch.equal(first[n], method.masks[n]) for n in first)
    assert abs(sparsity(mask_of(run.module)) - 0.8) < 0.001


def test_distributions_are_the_published_ones() -> None:
    shapes = {"first": (64, 3, 7, 7), "middle": (512, 512, 3, 3), "last": (1000, 512)}
    assert RigLKernel(0.9).budget(shapes) == erk(shapes, 0.9)
    kept = RigLUniform(0.9).budget(shapes)
    assert kept["first"] == 64 * 3 * 49  # dense
    densities = [kept[n] / math.prod(shapes[n]) for n in ("middle", "last")]
    assert densities[0] == pytest.approx(densities[1], rel=1e-3)


def test_masks_are_random_and_the_seeds() -> None:
    masks = []
    for seed in (0, 0, 1):
        run = start_run(network(), STEPS, 10)
        run.seed = seed
        method = RigLKernel(0.5)
        method.on_start(run)
        masks.append(method.masks["3.weight"])
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_smallest_weights_are_dropped_and_largest_gradients_grown() -> None:
    weight = torch.tensor([[5.0, -0.1, 3.0, 0.2], [0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[True] * 4, [False] * 4])
    gradient = torch.tensor([[9.0, 0.0, 9.0, 0.0], [0.3, -7.0, 0.1, 2.0]])
    after = drop_and_grow(weight, gradient, mask, 0.5)
    assert after.tolist() == [[True, False, True, False], [False, True, False, True]]
    # What was just dropped may be grown again, if its gradient is among the largest.
    gradient[0, 1] = -100.0
    after = drop_and_grow(weight, gradient, mask, 0.5)
    assert after.tolist() == [[True, True, True, False], [False, True, False, False]]


def test_grown_connections_start_from_zero_without_momentum_and_the_update_is_skipped() -> None:
    method = RigLKernel(0.8)
    run = started(method)
    change = next(t for t in range(1, STEPS) if drop_share(t, STEPS) is not None)
    for step in range(change):
        assert one_step(run, method, step)
    name, weight = "3.weight", run.weights["3.weight"]
    before, values = method.masks[name].clone(), weight.detach().clone()
    others = run.module.get_parameter("1.weight").detach().clone()
    assert not one_step(run, method, change)

    grown = method.masks[name] & ~before
    assert int(grown.sum()) > 0
    assert not bool(weight[grown].any())
    momentum = run.optimizer.state[weight]["momentum_buffer"]
    assert not bool(momentum[grown].any())
    assert bool(momentum[method.masks[name] & before].any())
    stayed = method.masks[name] & before
    assert torch.equal(weight[stayed], values[stayed])  # no update of the weights
    assert torch.equal(run.module.get_parameter("1.weight"), others)  # nor of any other
    # In the next step they move by their own gradient alone.
    assert one_step(run, method, change + 1)
    assert weight.grad is not None
    assert torch.allclose(weight[grown], -0.1 * weight.grad[grown])


def test_dropped_weights_gather_no_momentum() -> None:
    method = RigLKernel(0.8)
    run = started(method)
    for step in range(3):
        one_step(run, method, step)
    for name, weight in run.weights.items():
        momentum = run.optimizer.state[weight]["momentum_buffer"]
        assert not bool(momentum[~method.masks[name]].any())
