from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsebench.models.architectures import prunable_layers
from sparsebench.models.oneshot import ONE_SHOT_METHODS, global_magnitude, uniform_magnitude
from tests.models.shares import by_layer


def network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 50))


@given(st.floats(0, 1), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_global_pruning_is_exact_and_keeps_the_largest(sparsity: float, seed: int) -> None:
    module = network(seed)
    mask = global_magnitude(module, sparsity)
    kept = torch.cat([k.flatten() for k in mask.values()])
    assert int((~kept).sum()) == round(sparsity * kept.numel())
    layers = prunable_layers(module)
    free = [n for n in layers if not mask["0.weight"].all() or n != "0"]
    weights = torch.cat([layers[n].weight.detach().abs().flatten() for n in free])
    kept = torch.cat([mask[f"{n}.weight"].flatten() for n in free])
    if kept.any() and not kept.all():
        assert weights[kept].min() >= weights[~kept].max()


@given(st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_uniform_pruning_is_exact_and_keeps_each_layer_s_largest(sparsity: float) -> None:
    module = network()
    mask = uniform_magnitude(module, sparsity)
    zeros = sum(int((~k).sum()) for k in mask.values())
    assert zeros == round(sparsity * sum(k.numel() for k in mask.values()))
    for name, kept in mask.items():
        weight = module.get_parameter(name).detach().abs()
        if kept.any() and not kept.all():
            assert weight[kept].min() >= weight[~kept].max()


@pytest.mark.parametrize("method", ONE_SHOT_METHODS)
def test_the_first_and_depthwise_layers_stay_whole_where_that_is_affordable(method: str) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 200, 1), nn.Linear(200, 10)
    )
    layers = by_layer(ONE_SHOT_METHODS[method](module, 0.5))
    assert layers["0.weight"] == layers["1.weight"] == 0
    assert layers["2.weight"] > 0 and layers["3.weight"] > 0
    crushed = by_layer(ONE_SHOT_METHODS[method](module, 0.99))
    assert crushed["1.weight"] > 0.5


def test_zeros_that_are_there_already_count() -> None:
    module = network()
    module[0].weight.data[0] = 0
    module[3].weight.data[:, 0] = 0
    for method in ONE_SHOT_METHODS.values():
        mask = method(module, 0.5)
        kept = torch.cat([k.flatten() for k in mask.values()])
        assert int((~kept).sum()) == round(0.5 * kept.numel())
        assert not mask["0.weight"][0].any() and not mask["3.weight"][:, 0].any()


@pytest.mark.parametrize("method", ONE_SHOT_METHODS)
def test_equal_weights_are_still_pruned_exactly_and_always_the_same(method: str) -> None:
    module = network()
    for parameter in module.parameters():
        parameter.data.fill_(0.5)
    first, second = (ONE_SHOT_METHODS[method](module, 0.5) for _ in range(2))
    assert all(torch.equal(first[n], second[n]) for n in first)
    kept = torch.cat([k.flatten() for k in first.values()])
    assert int((~kept).sum()) == kept.numel() // 2


def test_a_sparser_global_mask_lies_inside() -> None:
    module = network()
    wide, narrow = global_magnitude(module, 0.5), global_magnitude(module, 0.8)
    assert not any((narrow[n] & ~wide[n]).any() for n in wide)


def test_pruning_leaves_the_network_alone() -> None:
    module = network()
    before = module[3].weight.clone()
    for method in ONE_SHOT_METHODS.values():
        method(module, 0.9)
    assert torch.equal(module[3].weight, before)
