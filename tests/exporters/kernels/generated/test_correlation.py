"""The gradient of the non-zeros as generated code: against sums in float64, within its tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.generated import correlation
from sparsebench.exporters.kernels.generated.correlation import (
    Cut,
    GeneratedCorrelation,
    best_cut,
)
from sparsebench.exporters.kernels.generated.memory import no_pairs
from tests.exporters.kernels.generated.guarded import Guarded

pytestmark = pytest.mark.skipif(
    find_compiler() is None or "avx512" not in supported_isas(), reason="no compiler or AVX-512"
)


PRECISIONS = [
    False,
    pytest.param(
        True, marks=pytest.mark.skipif(bool(no_pairs("avx512", "float32")), reason="no bf16")
    ),
]


def rounded(array: np.ndarray, bf16: bool) -> np.ndarray:
    """What is multiplied."""
    return torch.from_numpy(array).bfloat16().float().numpy() if bf16 else array


def vectors(shape: Blocked, blocked: np.ndarray) -> np.ndarray:
    """float64 ``[C, B, H, W, L]`` of a blocked tensor, its padding left out."""
    rows = [c * shape.channel_stride for c in range(shape.channels)]
    size = shape.blocks * shape.plane * shape.lanes
    planes = np.stack([blocked[row : row + size] for row in rows])
    return planes.reshape(-1, shape.blocks, shape.height, shape.width, shape.lanes).astype(float)


def expected(pattern: Pattern, geometry: Geometry, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Every gradient as the sum that defines it."""
    top, left, below, right = geometry.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, below), (left, right), (0, 0)))
    (sy, sx), (dy, dx) = geometry.stride, geometry.dilation
    height, width = g.shape[2:4]
    found = []
    for o, c, ky, kx in zip(pattern.out, pattern.inp, pattern.ky, pattern.kx, strict=True):
        seen = padded[c, :, ky * dy :: sy, kx * dx :: sx][:, :height, :width]
        found.append((seen * g[o]).sum())
    return np.array(found)


@pytest.mark.parametrize("bf16", PRECISIONS)
@pytest.mark.parametrize("threads", [1, 2])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_gradient_is_the_sum_in_float64(
    data: st.DataObject, threads: int, bf16: bool
) -> None:
    draw = data.draw
    small = st.integers(1, 3)
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    above, left, below, right = (draw(st.integers(0, 3)) for _ in range(4))
    padding = (above, left, below, right)
    groups = draw(st.sampled_from([1, 1, 3]))
    channels = (groups * draw(st.integers(1, 8)), groups * draw(st.integers(1, 11)))
    stride, dilation = (draw(small), draw(small)), (draw(small), draw(small))
    geometry = Geometry(*channels, kernel, stride, padding, dilation, groups)
    reach = [dilation[a] * (kernel[a] - 1) + 1 - padding[a] - padding[a + 2] for a in range(2)]
    height, width = (max(draw(st.integers(1, 9)), least) for least in reach)
    inp = Blocked(draw(st.integers(1, 50)), channels[1], height, width, 16)
    high, wide = geometry.output_size(height, width)
    out = Blocked(inp.images, channels[0], high, wide, 16)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kept = rng.random(geometry.weight_shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    pattern = Pattern.of(kept, groups)
    # What lies behind the last channel's planes is padding that nothing touches.
    sizes = [s.channel_stride * (s.channels - 1) + s.blocks * s.plane * 16 for s in (inp, out)]
    x, g = (rng.standard_normal(size).astype(np.float32) for size in sizes)
    at_end = draw(st.booleans())
    own, other = (torch.from_numpy(Guarded(a, at_end).array) for a in (x, g))
    layer = GeneratedCorrelation(pattern, geometry, inp, out, bf16)
    found = layer.run(library("float32", "avx512"), own, other, threads).numpy()
    x, g = rounded(x, bf16), rounded(g, bf16)
    near = expected(pattern, geometry, vectors(inp, x), vectors(out, g))
    assert found.shape == near.shape
    scale = np.sqrt(out.blocks * out.plane * 16)
    np.testing.assert_allclose(found, near, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("bf16", PRECISIONS)
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("cut", [(1, 1, 1), (1, 3, 4), (1, 7, 2), (2, 7, 10), (3, 7, 3), (4, 7, 9)])
def test_the_cut_changes_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch, cut: tuple[int, int, int], threads: int, bf16: bool
) -> None:
    geometry = Geometry(70, 9, (3, 3), (1, 1), (1, 1, 1, 1))
    inp, out = Blocked(55, 9, 7, 6, 16), Blocked(55, 70, 7, 6, 16)
    rng = np.random.default_rng(0)
    pattern = Pattern.of(rng.random(geometry.weight_shape) < 0.4, 1)
    x, g = (rng.standard_normal(s.numel).astype(np.float32) for s in (inp, out))
    images, rows, channels = cut
    monkeypatch.setattr(
        correlation, "best_cut", lambda *_: Cut(images, rows, channels, (rows + 2, 8))
    )
    layer = GeneratedCorrelation(pattern, geometry, inp, out, bf16)
    own, other = (torch.from_numpy(Guarded(a, True).array) for a in (x, g))
    found = layer.run(library("float32", "avx512"), own, other, threads).numpy()
    x, g = rounded(x, bf16), rounded(g, bf16)
    near = expected(pattern, geometry, vectors(inp, x), vectors(out, g))
    np.testing.assert_allclose(found, near, rtol=0, atol=2e-4)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("side", [1, 2, 7, 16, 56, 112])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_cut_fits_the_tensors_and_mostly_the_cache(side: int, size: int, bf16: bool) -> None:
    geometry = Geometry(64, 64, (size, size), (1, 1), (size // 2,) * 4)
    inp = Blocked(64, 64, side, side, 16)
    for count in (0, 1, 400, 64 * 64 * size * size):
        cut = best_cut(geometry, inp, inp, count, bf16)
        most = -(-inp.blocks // 2) if bf16 else inp.blocks
        assert 1 <= cut.images <= most and 1 <= cut.channels <= 64
        assert 1 <= cut.rows <= side and (cut.images == 1 or cut.rows == side)
        vectors_near = cut.images * cut.window[0] * cut.window[1] * cut.channels
        assert vectors_near <= max(correlation._NEAR, size * (side + size - 1))
