"""Emitted code against sums in float64, between pages that nobody may touch."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.kernels.compiled.build import supported_isas
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6
from sparsebench.exporters.kernels.generated import byte_sums, encoding
from sparsebench.exporters.kernels.generated.convolution import PLACE
from sparsebench.exporters.kernels.generated.emitter import FLOATS, Shape, emit, groups_of
from sparsebench.exporters.kernels.generated.memory import CodeMemory
from tests.exporters.kernels.generated.guarded import Guarded

pytestmark = pytest.mark.skipif("avx512" not in supported_isas(), reason="no AVX-512")

FUNCTION = ctypes.CFUNCTYPE(None, *([ctypes.c_void_p] * 6))


def run_layer(
    weight: np.ndarray,
    x: np.ndarray,
    shape: Shape,
    place: np.ndarray,
    out_places: int,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    functions: int,
    at_end: bool,
) -> np.ndarray:
    """``weight [O, C, T]`` on ``x [places, C, 16]``: ``[out places, O, 16]``."""
    out, inp, tap = np.nonzero(weight)
    code = emit(out, inp, tap, shape)
    stream = Guarded(code.stream(weight[out, inp, tap], bias), at_end)
    units = len(code.starts) - 1
    cuts = [i * units // functions for i in range(functions + 1)]
    memory = CodeMemory([code.function(a, b) for a, b in itertools.pairwise(cuts)])
    source = Guarded(x, at_end)
    found = Guarded(np.full((out_places, shape.out_channels, 16), np.nan, np.float32), at_end)
    places = Guarded(place, at_end)
    added = None if residual is None else Guarded(residual, at_end)
    for address in memory.addresses:
        FUNCTION(address)(
            source.address,
            found.address,
            added.address if added else None,
            stream.address,
            places.address,
            places.address + place.nbytes,
        )
    return found.array.copy()


def activated(y: np.ndarray, act: int) -> np.ndarray:
    y = y if act == NONE else np.maximum(y, 0)
    return np.minimum(y, 6) if act == RELU6 else y


@settings(max_examples=120, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_row_of_places_is_the_sum_in_float64(data: st.DataObject) -> None:
    draw = data.draw
    out_channels = draw(st.sampled_from([1, 2, 27, 28, 29, 57, 64]))
    in_channels = draw(st.sampled_from([1, 3, 16, 255, 256, 257, 600]))
    taps, length = draw(st.sampled_from([(1, 1), (1, 6), (3, 7), (7, 9)]))
    bits = draw(st.booleans())
    blocks = draw(st.integers(1, min(3, in_channels)))
    act = draw(st.sampled_from([NONE, RELU, RELU6]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]))
    weight = rng.standard_normal((out_channels, in_channels, taps)).astype(np.float32)
    weight *= rng.random(weight.shape) < density
    weight[rng.random(out_channels) < 0.1] = 0
    weight[:, rng.random(in_channels) < 0.1] = 0
    x = rng.standard_normal((length, in_channels, 16)).astype(np.float32)
    outs = length if bits else length - taps + 1
    shift = taps // 2 if bits else 0
    residual = bias = None
    if draw(st.booleans()):
        residual = rng.standard_normal((outs, out_channels, 16)).astype(np.float32)
    if draw(st.booleans()):
        bias = rng.standard_normal(out_channels).astype(np.float32)
    pixel = 64 * in_channels
    shape = Shape(
        out_channels, in_channels, tuple(pixel * (t - shift) for t in range(taps)), bits,
        residual is not None, act, blocks,
    )  # fmt: skip
    place = np.zeros(outs, PLACE)
    place["inp"], place["out"] = pixel * np.arange(outs), 64 * out_channels * np.arange(outs)
    expected = np.zeros((outs, out_channels, 16))
    for i in range(outs):
        for t in range(taps):
            if 0 <= i + t - shift < length:
                place["bits"][i] |= np.uint64(1 << t)
                expected[i] += weight[:, :, t].astype(float) @ x[i + t - shift].astype(float)
    expected += 0 if bias is None else bias[None, :, None]
    expected += 0 if residual is None else residual
    units = blocks * (len(groups_of(out_channels)) - 1)
    functions = draw(st.sampled_from(sorted({1, min(2, units), units})))
    if functions != units and blocks > 1:
        functions = units  # a block's sums are read by the next one
    found = run_layer(weight, x, shape, place, outs, bias, residual, functions, draw(st.booleans()))
    scale = 1e-6 * max(1.0, float(np.abs(expected).max())) * 30
    np.testing.assert_allclose(found, activated(expected, act), rtol=0, atol=scale)


def test_a_nan_stays_a_nan_through_activations() -> None:
    for act in (NONE, RELU, RELU6):
        x = np.full((1, 1, 16), np.nan, np.float32)
        x[..., 1] = np.inf
        weight = np.ones((2, 1, 1), np.float32)
        place = np.zeros(1, PLACE)
        shape = Shape(2, 1, (0,), False, False, act)
        found = run_layer(weight, x, shape, place, 1, None, None, 1, True)
        assert np.isnan(found[..., 0]).all() and np.isnan(found[..., 2:]).all()
        assert (found[..., 1] == (6 if act == RELU6 else np.inf)).all()


def groups() -> Iterator[int]:
    yield from (1, 27, 28, 29, 56, 57, 64, 512, 2048)


@pytest.mark.parametrize("channels", groups())
def test_groups_fit_the_registers_and_are_about_equal(channels: int) -> None:
    sizes = np.diff(groups_of(channels))
    assert sizes.sum() == channels and sizes.max() <= 28 and sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("kind", ["floats", "bytes"])
def test_the_vectors_of_a_unit_are_encoded_together(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one took three quarters of the time before the first step or image."""
    calls: list[int] = []
    assemble = encoding._assemble

    def counted(*parts: Any) -> encoding.Slots:
        calls.append(1)
        return assemble(*parts)

    monkeypatch.setattr(encoding, "_assemble", counted)
    shape = Shape(28, 64, (0,), False, True, RELU6, inp_channel=4096, out_channel=4096)
    if kind == "floats":
        head, tail = FLOATS.frame(shape, np.array([0, 28]), 0, 0)
    else:
        finish = byte_sums.Finish(RELU, True, 3, "bytes", capped=True)
        head, tail = byte_sums._frame(finish, shape, np.array([0, 28]), 0, 0)
    assert len(head) + len(tail) > 100 and len(calls) < 20
