"""Networks of generated code: against PyTorch in float64, and what runs where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.compiled.steps import IMAGES
from sparsebench.exporters.kernels.inference.generated_network import GeneratedNetwork
from tests.exporters.kernels.inference.test_folded import Maker, bottlenecks, expected_of

pytestmark = pytest.mark.skipif(
    find_compiler() is None or "avx512" not in supported_isas(), reason="no compiler or AVX-512"
)


@pytest.mark.parametrize(
    ("size", "batch", "threads"),
    [(64, 1, 1), (64, 13, 2), (128, 5, 2), (32, 70, 2), (96, 33, 3), (56, 1, 2), (112, 2, 1)],
)
def test_groups_of_images_give_the_features_of_each(size: int, batch: int, threads: int) -> None:
    network = bottlenecks(np.random.default_rng(0))
    images = np.random.default_rng(1).standard_normal((batch, 3, size, size)).astype(np.float32)
    kernels = library("float32", "avx512")
    compiled = GeneratedNetwork(network, batch, (3, size, size), kernels, threads)
    expected = expected_of(network, images)
    for _ in range(2):  # nothing of the first call may be left over
        found = compiled.run(images)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_layers_are_pytorchs_in_float64(data: st.DataObject) -> None:
    size = data.draw(
        st.sampled_from([(8, 8), (16, 24), (32, 16), (20, 40), (9, 16), (64, 8), (28, 14)])
    )
    batch = data.draw(st.sampled_from([1, 3, 8, 11, 33]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    make = Maker(rng, data.draw(st.sampled_from([0.0, 0.15, 1.0])))
    x, channels = IMAGES, 3
    for _ in range(3):
        kernel = data.draw(st.sampled_from([1, 2, 3, 5]))
        dilation = data.draw(st.integers(1, 2))
        groups = data.draw(st.sampled_from([1, channels]))
        out = groups * data.draw(st.sampled_from([1, 2, 4, 10, 19]))
        stride = data.draw(st.integers(1, 3))
        x = make.layer(
            x, (channels, out), kernel, stride, None,
            padding=dilation * (kernel - 1), dilation=dilation, groups=groups,
        )  # fmt: skip
        channels = out
    x = make.pool(x, *data.draw(st.sampled_from([(3, 2, 1), (2, 1, 1), (1, 1, 0)])))
    network = make.mean(make.layer(x, (channels, 4), 3))
    images = rng.standard_normal((batch, 3, *size)).astype(np.float32)
    threads = data.draw(st.sampled_from([1, 2]))
    compiled = GeneratedNetwork(network, batch, (3, *size), library("float32"), threads)
    expected = expected_of(network, images)
    found = compiled.run(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5 * np.abs(expected).max())


def test_a_few_images_fill_the_registers_whatever_their_size() -> None:
    """Pieces of one image, padded where it has no equal ones: about 1/16 of its places each."""
    network = bottlenecks(np.random.default_rng(0), density=1.0)
    for size in (64, 56, 112, 48):
        one, many = (
            GeneratedNetwork(network, n, (3, size, size), library("float32", "avx512"), 1)
            for n in (1, 16)
        )
        assert one.multiply_adds.total() < many.multiply_adds.total() / 16 * 2


def test_a_nan_stays_in_its_image() -> None:
    network = bottlenecks(np.random.default_rng(0), density=0.9)
    images = np.zeros((6, 3, 64, 64), np.float32)
    images[1, 0, 63, 63] = np.nan
    images[4, 2, 0, 0] = np.inf
    found = GeneratedNetwork(network, 6, (3, 64, 64), library("float32"), 2).run(images)
    assert np.isfinite(found[[0, 2, 3, 5]]).all()
    assert np.isnan(found[1]).any() and not np.isfinite(found[4]).all()


def test_the_time_of_every_layer_is_told() -> None:
    network = bottlenecks(np.random.default_rng(0))
    compiled = GeneratedNetwork(network, 5, (3, 64, 64), library("float32"), 2)
    told: dict[str, float] = {}
    images = np.zeros((5, 3, 64, 64), np.float32)
    compiled.run(images, lambda name, kind, s: told.__setitem__(name, told.get(name, 0.0) + s))
    assert set(network.layers) <= set(told) and all(told[name] > 0 for name in network.layers)
