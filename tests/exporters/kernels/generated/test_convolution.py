"""Layers of generated code in guarded memory, called as networks call them: against PyTorch."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.geometry import Geometry
from sparsebench.exporters.kernels.compiled.library import RELU, RELU6, CCall, library
from sparsebench.exporters.kernels.generated.convolution import GeneratedConvolution, Planes
from sparsebench.exporters.kernels.generated.memory import CodeMemory
from sparsebench.exporters.kernels.inference.folded_calls import GENERATED
from sparsebench.models.errors import SparsebenchError
from tests.exporters.kernels.generated.guarded import Guarded

pytestmark = pytest.mark.skipif(
    find_compiler() is None or "avx2" not in supported_isas(), reason="no compiler or AVX2"
)


def planes_of(
    channels: int, height: int, width: int, halo: int, blocks: int, lanes: int = 16
) -> Planes:
    row = (width + 2 * halo) * channels
    size = row * (height + 2 * halo)
    return Planes(height, width, row, channels, halo > 0, blocks, size, lanes=lanes)


@pytest.mark.parametrize("isa", ["avx512", "avx2"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_layer_is_pytorchs_and_stays_in_its_memory(isa: str, data: st.DataObject) -> None:
    if isa not in supported_isas():
        pytest.skip(f"this processor has no {isa}")
    kernels, draw = library(isa=isa), data.draw
    lanes = kernels.lanes
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (7, 7), (2, 5)]))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 3]))
    inner, outer = draw(st.sampled_from([(1, 1), (4, 30), (300, 9), (5, 60)]))
    size = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    halo = draw(st.sampled_from([0, 0, max(kernel) // 2 * dilation]))
    blocks = 1 if halo else draw(st.integers(1, 3))
    pads = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    geometry = Geometry(
        outer * groups, inner * groups, kernel, (stride, stride), (*pads, *pads),
        (dilation, dilation), groups,
    )  # fmt: skip
    try:
        high, wide = geometry.output_size(*size)
    except SparsebenchError:
        return  # smaller than the kernel
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.standard_normal(geometry.weight_shape).astype(np.float32)
    weight *= rng.random(weight.shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    bias = rng.standard_normal(geometry.out_channels).astype(np.float32)
    channels = (geometry.in_channels, geometry.out_channels)
    shape = (blocks, size[0] + 2 * halo, size[1] + 2 * halo, channels[0], lanes)
    x = rng.standard_normal(shape).astype(np.float32)
    if halo and stride * (high - 1) + dilation * (kernel[0] - 1) - pads[0] >= size[0] + halo:
        return  # such a border is not one that a network's fold would have
    if halo and stride * (wide - 1) + dilation * (kernel[1] - 1) - pads[1] >= size[1] + halo:
        return
    out_planes = planes_of(channels[1], high, wide, 0, blocks, lanes)
    residual = rng.standard_normal((blocks, high, wide, channels[1], lanes)).astype(np.float32)
    in_planes = planes_of(channels[0], *size, halo, blocks, lanes)
    act = draw(st.sampled_from([RELU, RELU6]))
    layer = GeneratedConvolution(weight, bias, geometry, in_planes, out_planes, act, True)
    code = CodeMemory(layer.functions)
    layer.place(code.addresses)
    at_end = draw(st.booleans())
    source, added = Guarded(x, at_end), Guarded(residual, at_end)
    found = Guarded(np.full(residual.shape, np.nan, np.float32), at_end)
    lead = 4 * lanes * channels[0] * (halo * (size[1] + 2 * halo) + halo)
    table = np.array([source.address + lead, found.address, added.address], np.uint64)
    call = CCall(GENERATED, act, 0, 1, 2, ctypes.addressof(layer.c))
    threads = draw(st.sampled_from([1, 2]))
    kernels.run(ctypes.byref(call), 1, table.ctypes.data, 1, 3, 1, threads, None)
    # Lanes and blocks are images; where there are borders, what they hold is in the images.
    images = torch.from_numpy(np.moveaxis(x, (0, 4), (0, 1)).reshape(-1, *shape[1:4])).double()
    around = [p if not halo else p - halo for p in pads]
    images = torch.nn.functional.pad(
        images.permute(0, 3, 1, 2), (around[1], around[1], around[0], around[0])
    )
    expected = torch.nn.functional.conv2d(
        images, torch.from_numpy(weight).double(), torch.from_numpy(bias).double(),
        stride, 0, dilation, groups,
    )[:, :, :high, :wide]  # fmt: skip
    expected = expected.permute(0, 2, 3, 1).reshape(blocks, lanes, high, wide, channels[1])
    sums = np.moveaxis(expected.numpy(), 1, 4) + residual
    near = 3e-6 * max(1.0, float(np.abs(sums).max()))
    np.testing.assert_allclose(
        found.array, np.clip(sums, 0, 6 if act == RELU6 else None), rtol=0, atol=near
    )


def test_what_the_code_cannot_address_is_refused() -> None:
    far = Planes(3, 3, 2**22, 1, True, 1, 2**26)
    weight = np.ones((1, 1, 1, 1), np.float32)
    with pytest.raises(SparsebenchError, match="too large for generated code"):
        GeneratedConvolution(weight, None, Geometry(1, 1, (1, 1)), far, far, RELU, False)
    whole = planes_of(1, 20, 20, 0, 1)
    geometry = Geometry(1, 1, (9, 9), padding=(4, 4, 4, 4))
    weight = np.ones((1, 1, 9, 9), np.float32)
    with pytest.raises(SparsebenchError, match="more than 64 taps"):
        GeneratedConvolution(weight, None, geometry, whole, whole, RELU, False)
