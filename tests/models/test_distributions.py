import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.models.architectures import build, prunable_layers
from sparsebench.models.costs import LayerCost, count_costs
from sparsebench.models.distributions import Shapes, erk, global_threshold, uniform
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.generated import global_as_trained, uniform_but_spared


@pytest.fixture(scope="module")
def resnet50() -> dict[str, LayerCost]:
    return {c.name: c for c in count_costs(build("resnet50"))}


@pytest.fixture(scope="module")
def resnet50_shapes() -> Shapes:
    with torch.device("meta"):
        module = build("resnet50")
    return {n: tuple(m.weight.shape) for n, m in prunable_layers(module).items()}


def flops_left(costs: dict[str, LayerCost], kept: dict[str, int]) -> float:
    total = sum(c.macs for c in costs.values())
    return sum(costs[n].macs * k / costs[n].params for n, k in kept.items()) / total


# RigL's published share of dense FLOPs, ResNet-50 at 224 px (PAPER.md, section 1.3).
@pytest.mark.parametrize(
    ("sparsity", "share", "whole_layers"),
    [(0.8, 0.414, 8), (0.9, 0.242, 1), (0.95, 0.122, 0), (0.98, 0.049, 0)],
)
def test_erk_reproduces_the_published_flops(
    resnet50: dict[str, LayerCost],
    resnet50_shapes: Shapes,
    sparsity: float,
    share: float,
    whole_layers: int,
) -> None:
    kept = erk(resnet50_shapes, sparsity)
    assert flops_left(resnet50, kept) == pytest.approx(share, abs=0.0005)
    assert sum(k == resnet50[n].params for n, k in kept.items()) == whole_layers


@pytest.mark.parametrize(
    ("sparsity", "share"), [(0.8, 0.223), (0.9, 0.126), (0.95, 0.077), (0.98, 0.048)]
)
def test_uniform_reproduces_the_published_flops(
    resnet50: dict[str, LayerCost], resnet50_shapes: Shapes, sparsity: float, share: float
) -> None:
    kept = uniform_but_spared(resnet50_shapes, sparsity)
    assert flops_left(resnet50, kept) == pytest.approx(share, abs=0.0005)
    assert kept["conv1"] == resnet50["conv1"].params
    others = [1 - k / resnet50[n].params for n, k in kept.items() if n != "conv1"]
    assert max(others) - min(others) < 1e-3
    assert sum(others) / len(others) == pytest.approx(sparsity, abs=5e-4)


# AC/DC's trained networks: about 0.29 / 0.18 / 0.11 (PAPER.md, section 1.3).
@pytest.mark.parametrize(("sparsity", "share"), [(0.8, 0.29), (0.9, 0.18), (0.95, 0.11)])
def test_global_comes_near_trained_networks(
    resnet50: dict[str, LayerCost], resnet50_shapes: Shapes, sparsity: float, share: float
) -> None:
    kept = global_as_trained(resnet50_shapes, sparsity)
    assert flops_left(resnet50, kept) == pytest.approx(share, abs=0.015)
    assert min(kept.values()) > 0


def test_erk_densities_are_in_proportion_to_the_kernel_term() -> None:
    shapes = {"a": (64, 32, 3, 3), "b": (128, 64, 1, 1), "fc": (10, 128)}
    kept = erk(shapes, 0.95)
    ratios = {n: kept[n] / math.prod(s) / (sum(s) / math.prod(s)) for n, s in shapes.items()}
    assert ratios["a"] == pytest.approx(ratios["b"], rel=0.01)
    assert ratios["a"] == pytest.approx(ratios["fc"], rel=0.02)


layer_shapes = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3), st.just(3)),
        st.tuples(st.integers(1, 40), st.just(1), st.just(5), st.just(5)),
    ),
    min_size=1,
    max_size=6,
)


@given(layer_shapes, st.floats(0, 1))
@settings(deadline=None)
def test_every_distribution_is_exact_and_keeps_within_the_layers(
    shapes: Shapes, sparsity: float
) -> None:
    total = sum(math.prod(s) for s in shapes.values())
    scales = {n: 1 / math.sqrt(math.prod(s[1:])) for n, s in shapes.items()}
    for kept in (
        erk(shapes, sparsity),
        uniform(shapes, sparsity),
        uniform(shapes, sparsity, dense=[min(shapes)]),
        uniform_but_spared(shapes, sparsity),
        global_threshold(shapes, sparsity, scales),
    ):
        assert list(kept) == list(shapes)
        assert total - sum(kept.values()) == round(sparsity * total)
        assert all(0 <= k <= math.prod(shapes[n]) for n, k in kept.items())


@given(layer_shapes, st.floats(0, 1))
@settings(deadline=None)
def test_uniform_keeps_the_same_share_everywhere(shapes: Shapes, sparsity: float) -> None:
    kept = uniform(shapes, sparsity)
    for name, shape in shapes.items():
        # Rounding to a whole number of weights, here and in the overall count.
        assert abs(kept[name] - (1 - sparsity) * math.prod(shape)) <= 1.5


@given(layer_shapes, st.floats(0.05, 0.95))
@settings(deadline=None)
def test_global_matches_thresholding_a_sample(shapes: Shapes, sparsity: float) -> None:
    """Equal scales make every layer equally sparse; a larger scale keeps more."""
    same = global_threshold(shapes, sparsity, dict.fromkeys(shapes, 0.3))
    assert same == pytest.approx(uniform(shapes, sparsity), abs=1.01)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, math.nan])
def test_a_sparsity_outside_the_range_is_refused(sparsity: float) -> None:
    for distribution in (erk, uniform):
        with pytest.raises(SparsebenchError, match="outside 0 to 1"):
            distribution({"a": (2, 2)}, sparsity)
