"""Reasons from synthetic measurements whose right answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sparsebench.bench.why.findings import bound_of, explain, paying_from
from sparsebench.bench.why.layers import LayerPair
from sparsebench.bench.why.measure import Measured, Whole, near_grid

WHOLE = Whole(16, dense=0.100, sparse=0.050, ratios=(2.0, 2.0, 2.0))


def made(*layers: LayerPair, engine: str = "deepsparse", **changes: Any) -> Measured:
    base = Measured("net", engine, 2, sparsity=0.9, dead_filters=0.0, whole=WHOLE, layers=layers,
                    supported_fraction=1.0)  # fmt: skip
    return replace(base, **changes)


def layer(name: str, sparsity: float, dense: float, sparse: float, skips: bool | None = True,
          ) -> LayerPair:  # fmt: skip
    return LayerPair(name, sparsity, dense, sparse, "kernel", skips)


def about(measured: Measured, words: str) -> str:
    """Evidence and fix of the reason with these words; empty where it is not given."""
    found = [one for one in explain(measured) if words in one.what]
    return f"{found[0].evidence} {found[0].fix}" if found else ""


def test_the_bound_is_amdahls_law_by_hand() -> None:
    # 10 s dense: 6 s with 90 % zeros, 2 s without zeros, 2 s without weights
    measured = made(layer("a", 0.9, 6, 2), layer("stem", 0.0, 2, 2, False), rest=(2.0, 2.0))
    bound = bound_of(measured)
    assert bound is not None
    assert bound.speedup == pytest.approx(10 / (0.6 + 2 + 2))
    assert bound.dense_layers == pytest.approx(0.2) and bound.rest == pytest.approx(0.2)
    text = about(measured, "Amdahl's law allows 2.2 times")
    assert "What costs most now is a: 33% of the time, 90% zeros" in text


def test_the_sparsity_that_pays_separates_what_was_measured() -> None:
    layers = [layer(f"l{z}", z / 100, 1.0, 1 / gain) for z, gain in
              ((40, 1.0), (60, 1.02), (70, 1.5), (90, 4.0))]  # fmt: skip
    assert paying_from(layers) == pytest.approx(0.7)
    assert paying_from(layers[:2]) is None
    text = about(made(*layers), "too few zeros")
    assert "From 70% zeros on" in text and "2 with fewer" in text
    assert "l60 (60%)" in text and "l40 (40%)" in text and "l70" not in text


def test_one_odd_layer_does_not_move_the_threshold() -> None:
    # a cheap layer at 95 % that does not pay weighs less than the costly ones that do
    layers = [layer("odd", 0.95, 0.01, 0.01), layer("a", 0.8, 1, 0.3), layer("b", 0.85, 1, 0.3)]
    assert paying_from(layers) == pytest.approx(0.8)


def test_an_engine_that_multiplies_zeros_is_told_from_one_that_skips_them() -> None:
    same = made(layer("a", 0.9, 1.0, 1.0, None), layer("b", 0.8, 1.0, 0.98, None),
                engine="onnxruntime")  # fmt: skip
    text = about(same, "onnxruntime multiplies zeros")
    assert "2 layers" in text and "1.01 times" in text and "--engine native" in text
    assert not about(same, "too few zeros")
    skipping = made(layer("a", 0.9, 1.0, 0.2), engine="other")
    assert not about(skipping, "multiplies zeros")
    whole = replace(WHOLE, ratios=(1.0, 1.01, 0.99))
    untold = made(engine="torch-compile", whole=whole)
    assert "does not tell the time of layers" in about(untold, "torch-compile multiplies")


def test_off_grid_batches_are_shown_by_measurement_or_named_as_a_rule() -> None:
    slow = replace(WHOLE, batch_size=17, dense=0.1, sparse=0.1, ratios=(1.0,))
    fast = replace(WHOLE, batch_size=16, dense=0.1, sparse=0.04, ratios=(2.5,))
    text = about(made(whole=slow, other=fast), "off the engine's grid")
    assert "1.00 times as fast at batch 17 and 2.50 times at batch 16" in text
    assert not about(made(whole=slow, other=replace(slow, batch_size=16)), "grid")
    assert "Rule, not measured here" in about(made(whole=slow), "grid")
    assert not about(made(), "grid")  # batch 16 is on it


@pytest.mark.parametrize(
    ("size", "grid"), [(1, 16), (15, 16), (16, None), (17, 16), (25, 32), (64, None), (100, 128)]
)
def test_the_grid_is_powers_of_two_from_sixteen(size: int, grid: int | None) -> None:
    assert near_grid(size) == grid


def test_lanes_that_are_not_filled_are_paid_for() -> None:
    measured = made(engine="native", lanes=16, whole=replace(WHOLE, batch_size=28))
    assert "what 32 images cost" in about(measured, "not a multiple of 16")
    assert not about(made(engine="native", lanes=16), "not a multiple")
    few = made(engine="native", lanes=16, whole=replace(WHOLE, batch_size=20))
    assert not about(few, "not a multiple")


def test_unsupported_operators_are_shown_with_their_share() -> None:
    measured = made(layer("a", 0.9, 1, 0.8), outside=0.2, rest=(0.2, 0.2), supported_fraction=0.75)
    text = about(measured, "not supported")
    assert "75%" in text and "20% of the time" in text
    assert not about(made(layer("a", 0.9, 1, 0.8)), "not supported")


def test_dead_filters_a_dense_network_and_a_refusal_have_their_fixes() -> None:
    assert "+compact" in about(made(dead_filters=0.3), "entirely zero")
    assert "0.4% of its weights" in about(made(sparsity=0.004), "hardly any zeros")
    refused = Measured("net", "native", 2, 0.9, 0.0, refused="the kernels do not know Gelu")
    assert "Gelu" in about(refused, "native does not run it")
    assert len(explain(refused)) == 1
