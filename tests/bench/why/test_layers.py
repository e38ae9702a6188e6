"""Steps and layers are brought together, however an engine fuses them."""

from __future__ import annotations

import pytest

from sparsebench.bench.why.layers import Layer, middle, pair_layers, short_name
from sparsebench.exporters.engines.base import LayerTime

LAYERS = [
    Layer("a", frozenset({"/a/Conv", "a_out", "a_relu"}), 0.5, 100),
    Layer("b", frozenset({"/b/Conv", "b_out"}), 0.9, 300),
    Layer("c", frozenset({"/c/Conv", "c_out"}), 0.0, 100),
]


def test_steps_are_found_by_any_alias_and_the_rest_is_kept() -> None:
    dense = [
        LayerTime(("a_relu",), "Conv", 4.0),
        LayerTime(("/b/Conv/WithoutBiases",), "Convolution", 2.0),
        LayerTime(("c_out",), "Conv", 1.0),
        LayerTime(("pool",), "Pool", 0.5),
    ]
    sparse = [
        LayerTime(("a_out",), "ks_1", 2.0, True),
        LayerTime(("b_out",), "ks_2", 0.5, True),
        LayerTime(("c_out",), "dense_3", 1.0, False),
        LayerTime((), "Naive Subgraph 0", 0.25, False),
    ]
    found = pair_layers(LAYERS, dense, sparse)
    assert [(one.name, one.speedup) for one in found.layers] == [("a", 2), ("b", 4), ("c", 1)]
    assert found.rest == (0.5, 0.25)
    assert found.outside == 0.25
    assert [one.skips for one in found.layers] == [True, True, False]


def test_steps_of_one_layer_add_up_with_their_share_of_the_peak() -> None:
    steps = [
        LayerTime(("a_out",), "generated", 3.0, True, 0.8),
        LayerTime(("a_out",), "pixels", 1.0, True, 0.4),
        LayerTime(("b_out",), "generated", 1.0, True, 0.9),
        LayerTime(("b_out",), "pixels", 1.0, True),
    ]
    both, one = pair_layers(LAYERS, steps, middle([steps, steps])).layers
    assert (both.kind, both.sparse) == ("generated+pixels", 4.0)
    assert both.peak == pytest.approx((3 * 0.8 + 1 * 0.4) / 4)
    assert one.peak is None  # a part of it is not known


def test_what_either_side_fuses_is_compared_as_one() -> None:
    dense = [LayerTime(("a_out", "b_out"), "pyramid", 6.0), LayerTime(("c_out",), "x", 1.0)]
    sparse = [
        LayerTime(("a_out",), "ks_1", 1.0),
        LayerTime(("b_out",), "ks_2", 2.0),
        LayerTime(("c_out",), "x", 1.0),
    ]
    first, second = pair_layers(LAYERS, dense, sparse).layers
    assert (first.name, first.dense, first.sparse) == ("a + b", 6.0, 3.0)
    assert first.sparsity == pytest.approx((0.5 * 100 + 0.9 * 300) / 400)
    assert second.name == "c"


def test_modules_are_paired_by_their_order() -> None:
    steps = [
        LayerTime(("conv1",), "Conv2d", 1.0),
        LayerTime(("bn",), "BatchNorm2d", 0.1),
        LayerTime(("conv2",), "Conv2d", 2.0),
        LayerTime(("fc",), "Linear", 3.0),
    ]
    found = pair_layers(LAYERS, steps, steps)
    assert [(one.name, one.dense) for one in found.layers] == [("a", 1), ("b", 2), ("c", 3)]
    assert found.rest == (0.1, 0.1)


def test_a_step_is_the_median_of_its_profiles() -> None:
    rounds = [[LayerTime(("a_out",), "x", seconds)] for seconds in (1.0, 9.0, 2.0)]
    assert [one.seconds for one in middle(rounds)] == [2.0]


@pytest.mark.parametrize(
    ("node", "short"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/conv1/Conv", "conv1"),
        ("Conv_12", "Conv_12"),
        ("/classifier/classifier.1/Gemm", "classifier.1"),
    ],
)
def test_names_are_short(node: str, short: str) -> None:
    assert short_name(node) == short
