"""A compiled network reads the images that it was compiled for, and nothing behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.compiled.steps import IMAGES, ActStep, MeanStep
from sparsebench.exporters.kernels.inference.folded_network import FoldedNetwork
from sparsebench.exporters.kernels.inference.pixel_network import PixelNetwork
from sparsebench.exporters.kernels.inference.split import SplitNetwork
from sparsebench.models.errors import SparsebenchError
from tests.exporters.kernels.inference.test_folded import Maker
from tests.exporters.kernels.inference.test_pixels import resnet_like

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
SHAPE = (3, 16, 16)
KINDS = (FoldedNetwork, PixelNetwork, SplitNetwork)
Compiled = FoldedNetwork | PixelNetwork | SplitNetwork


def compiled(kind: type[Compiled], batch: int) -> Compiled:
    network = resnet_like(np.random.default_rng(0))
    return kind(network, batch, SHAPE, library("float32"), 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((5, *SHAPE), "float32"),
        ((1, *SHAPE), "float32"),
        ((21, *SHAPE), "float32"),
        ((20, 3, 16, 15), "float32"),
        ((20, 16, 16, 3), "float32"),
        (SHAPE, "float32"),
        ((20, *SHAPE), "float64"),
        ((20, *SHAPE), "complex64"),
    ],
)
def test_other_images_are_refused(kind: type[Compiled], shape: tuple[int, ...], dtype: str) -> None:
    network = compiled(kind, 20)
    with pytest.raises(SparsebenchError) as error:
        network.run(np.zeros(shape, dtype))
    assert "[20, 3, 16, 16] of float32" in error.value.cause
    assert f"{list(shape)} of {dtype}" in error.value.cause


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_in_other_memory_give_the_same(kind: type[Compiled]) -> None:
    network = compiled(kind, 20)
    whole = np.random.default_rng(0).integers(0, 256, (20, *SHAPE)).astype(np.float32)
    expected = network.run(whole)
    unaligned = np.frombuffer(b"\0" + whole.tobytes(), np.uint8)[1:].view(np.float32)
    others: dict[str, NDArray[Any]] = {
        "channels last": np.ascontiguousarray(whole.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "every other": np.repeat(whole, 2, axis=0)[::2],
        "bytes": whole.astype(np.uint8),
        "half": whole.astype(np.float16),
        "swapped": whole.astype(">f4"),
        "unaligned": unaligned.reshape(whole.shape),
    }
    for name, images in others.items():
        np.testing.assert_array_equal(network.run(images), expected, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_an_addition_that_would_broadcast_is_refused(kind: type[Compiled]) -> None:
    make = Maker(np.random.default_rng(0), 1.0)
    wide, one = make.layer(IMAGES, (3, 8), 3), make.layer(IMAGES, (3, 1), 3)
    make.network.steps.append(ActStep(wide, 3, 0, one))
    make.network.steps.append(MeanStep(3, 4))
    make.network.output = 4
    with pytest.raises(SparsebenchError, match="not 8x16x16 and 1x16x16"):
        kind(make.network, 4, SHAPE, library("float32"), 1)
