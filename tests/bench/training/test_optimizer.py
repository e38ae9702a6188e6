"""The masked optimizer is SGD at the non-zeros, and nothing elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sparsebench.bench.training.optimizer import MaskedSGD


def two(
    seed: int, channels_last: bool, density: float
) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    torch.manual_seed(seed)
    nets = []
    for _ in range(2):
        torch.manual_seed(seed)
        nets.append(nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8 * 4, 3)))
    mask = torch.rand(8, 4, 3, 3, generator=torch.Generator().manual_seed(seed)) < density
    for net in nets:
        with torch.no_grad():
            weight_of(net).mul_(mask)
        if channels_last:
            net.to(memory_format=torch.channels_last)
    return nets[0], nets[1], mask


def weight_of(net: nn.Module) -> nn.Parameter:
    return net.get_parameter("0.weight")


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("together", [False, True])
def test_it_is_sgd_with_masked_gradients(
    nesterov: bool, channels_last: bool, density: float, together: bool
) -> None:
    ours, theirs, mask = two(7, channels_last, density)
    settings: dict[str, Any] = {
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "nesterov": nesterov,
    }
    masked = MaskedSGD(ours.parameters(), {weight_of(ours): mask}, together=together, **settings)
    reference = torch.optim.SGD(theirs.parameters(), **settings)
    for step in range(6):
        torch.manual_seed(step)
        images, labels = torch.randn(5, 4, 4, 4), torch.randint(0, 3, (5,))
        rate = 0.1 / (1 + step)
        for net, optimizer in ((ours, masked), (theirs, reference)):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(net(images), labels))
            if net is theirs:
                gradient = weight_of(net).grad
                assert gradient is not None
                gradient.mul_(mask)
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert torch.equal(weight_of(ours)[~mask], torch.zeros(int((~mask).sum())))


@pytest.mark.parametrize("corner", [0.0, 3.0])
def test_a_pruned_weight_stays_zero_whatever_its_gradient(corner: float) -> None:
    # Half of the weights kept, and more than the density from which updates are dense.
    weight = nn.Parameter(torch.tensor([[1.0, 0.0], [corner, 2.0]]))
    mask = weight.detach() != 0
    optimizer = MaskedSGD([weight], {weight: mask}, lr=1.0, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        weight.grad = torch.full((2, 2), float("inf"))
        optimizer.step()
    assert torch.equal(weight.detach() == 0, ~mask)


def test_weights_outside_the_mask_must_be_zero_to_begin_with() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match="not zero"):
        MaskedSGD([weight], {weight: torch.eye(2, dtype=torch.bool)}, lr=0.1)


def test_parameters_updated_together_are_those_updated_one_by_one() -> None:
    """Among them one without a gradient, one without a weight, and one that is nearly dense."""
    results = []
    for together in (False, True):
        torch.manual_seed(0)
        weights, masks = [], {}
        for density in (0.3, 0.0, 0.9, 0.1):
            mask = torch.rand(6, 50) < density
            weights.append(nn.Parameter(torch.randn(6, 50) * mask))
            masks[weights[-1]] = mask
        optimizer = MaskedSGD(weights, masks, lr=0.1, weight_decay=0.1, together=together)
        for step in range(3):
            for number, weight in enumerate(weights):
                late = number == 3 and step == 0
                weight.grad = None if late else torch.randn(6, 50)
            optimizer.step()
        results.append([weight.detach().clone() for weight in weights])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert all(bool(one.any()) == (number != 1) for number, one in enumerate(results[0]))


def test_state_is_as_small_as_the_non_zeros() -> None:
    weight = nn.Parameter(torch.zeros(100, 100))
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[0, :50] = True
    optimizer = MaskedSGD([weight], {weight: mask}, lr=0.1)
    weight.grad = torch.ones(100, 100)
    optimizer.step()
    kept = [optimizer._sparse[0].values, optimizer._sparse[0].velocity]
    assert [t.numel() for t in kept] == [50, 50]
