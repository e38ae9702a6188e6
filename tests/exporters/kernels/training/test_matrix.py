"""The gradient of the non-zeros on the matrix unit: against sums in float64, within its tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.kernels.compiled import library as compiled
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import Library, library
from sparsebench.exporters.kernels.compiled.plan import Pattern
from sparsebench.exporters.kernels.training import convolution, matrix
from sparsebench.exporters.kernels.training.convolution import Convolution
from sparsebench.exporters.kernels.training.matrix import MatrixSums
from sparsebench.models.errors import SparsebenchError
from tests.exporters.kernels.generated.guarded import Guarded
from tests.exporters.kernels.generated.test_correlation import expected, rounded, vectors

has_matrix = pytest.mark.skipif(
    find_compiler() is None or not library().has_matrix, reason="no matrix unit"
)


def sums(
    pattern: Pattern, geometry: Geometry, inp: Blocked, out: Blocked, threads: int, halves: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of random tensors between guard pages, and those in float64."""
    rng = np.random.default_rng(inp.images)
    # What lies behind the last channel's planes is padding that nothing touches.
    sizes = [s.channel_stride * (s.channels - 1) + s.blocks * s.plane * 16 for s in (inp, out)]
    x, g = (rng.standard_normal(size).astype(np.float32) for size in sizes)
    kept = torch.from_numpy(x).bfloat16().view(torch.int16).numpy() if halves else x
    own, other = (torch.from_numpy(Guarded(a, True).array) for a in (kept, g))
    own = own.view(torch.bfloat16) if halves else own
    layer = MatrixSums(pattern, geometry, inp, out)
    found = layer.run(library("float32", "avx512"), own, other, threads).numpy()
    x, g = rounded(x, True), rounded(g, True)
    return found, expected(pattern, geometry, vectors(inp, x), vectors(out, g))


@has_matrix
@pytest.mark.parametrize("halves", [False, True])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_gradient_is_the_sum_in_float64(data: st.DataObject, halves: bool) -> None:
    draw = data.draw
    small = st.integers(1, 3)
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    above, left, below, right = (draw(st.integers(0, 3)) for _ in range(4))
    channels = (draw(st.integers(1, 40)), draw(st.sampled_from([1, 3, 15, 16, 17, 40])))
    stride, dilation = (draw(small), draw(small)), (draw(small), draw(small))
    geometry = Geometry(*channels, kernel, stride, (above, left, below, right), dilation)
    reach = [dilation[0] * (kernel[0] - 1) + 1 - above - below]
    reach.append(dilation[1] * (kernel[1] - 1) + 1 - left - right)
    height, width = (max(draw(st.integers(1, 9)), least) for least in reach)
    inp = Blocked(draw(st.integers(1, 50)), channels[1], height, width, 16)
    out = Blocked(inp.images, channels[0], *geometry.output_size(height, width), 16)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kept = rng.random(geometry.weight_shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    pattern = Pattern.of(kept, 1)
    found, near = sums(pattern, geometry, inp, out, draw(st.integers(1, 3)), halves)
    assert found.shape == near.shape
    scale = np.sqrt(out.blocks * out.plane * 16)
    np.testing.assert_allclose(found, near, rtol=0, atol=2e-6 * scale)


@has_matrix
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 60_000, 120_000, 2**20])
def test_the_chunks_change_nothing_but_rounding(
    monkeypatch: pytest.MonkeyPatch, size: int, threads: int
) -> None:
    monkeypatch.setattr(matrix, "_CHUNK_BYTES", size)
    geometry = Geometry(70, 20, (3, 3), (1, 1), (1, 1, 1, 1))
    inp, out = Blocked(70, 20, 7, 6, 16), Blocked(70, 70, 7, 6, 16)
    rng = np.random.default_rng(0)
    pattern = Pattern.of(rng.random(geometry.weight_shape) < 0.4, 1)
    found, near = sums(pattern, geometry, inp, out, threads, True)
    np.testing.assert_allclose(found, near, rtol=0, atol=2e-4)


def test_layers_of_groups_are_left_to_other_kernels() -> None:
    geometry = Geometry(32, 32, (3, 3), (1, 1), (1, 1, 1, 1), groups=2)
    pattern = Pattern.of(np.ones(geometry.weight_shape, np.bool_), 2)
    shape = Blocked(16, 32, 4, 4, 16)
    with pytest.raises(SparsebenchError, match="one group"):
        MatrixSums(pattern, geometry, shape, shape)


@has_matrix
def test_a_layer_takes_it_in_bf16_only_and_where_enough_weights_are_kept() -> None:
    kernels = library("float32", "avx512")
    geometry = Geometry(32, 32, (1, 1))
    shape = Blocked(16, 32, 4, 4, 16)
    x, g, grad = (
        torch.from_numpy(Guarded(np.ones(shape.numel, np.float32), True).array) for _ in "xyz"
    )
    for share, bf16, path in (
        (convolution._LEAST_OF_FEW + 0.01, True, "generated+matrix (bf16)"),
        (convolution._LEAST_OF_FEW - 0.01, True, "compiled"),
        (0.5, False, "compiled"),
        (convolution._LEAST_MATRIX / 2, True, "compiled"),
    ):
        kept = np.zeros(geometry.weight_shape, np.bool_)
        kept.reshape(-1)[: int(share * kept.size)] = True
        layer = Convolution(kept, geometry, kernels, 1, bf16)
        values = torch.ones(len(layer))
        found = layer.backward(shape, x, values, g, grad)
        assert layer.backward_path == path
        assert torch.equal(found, torch.full_like(found, 256))


@pytest.mark.skipif(find_compiler() is None, reason="no compiler")
def test_it_is_left_alone_where_the_processor_or_the_system_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "cpu_flags", lambda: {"avx512f"})
    assert not Library("portable", "float32").has_matrix
    monkeypatch.setattr(compiled, "cpu_flags", lambda: {"amx_tile", "amx_bf16", "avx512_bf16"})
    assert not Library("portable", "float32").has_matrix  # these kernels do not know it
