"""What `.ci/sanitize` runs: convolutions of every kind, a training step, small batches, folds.

The results are checked too, so that a sanitizer that sees nothing has seen the right thing.
"""

from __future__ import annotations

import ctypes
import sys
import time

import numpy as np
import torch
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import supported_isas
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.training.module import sparsify_module
from sparsebench.models.generated import generate
from sparsebench.models.masks import mask_of
from tests.exporters.kernels.inference.test_folded import (
    test_folded_planes_give_the_features_of_whole_ones as check_folds,
)
from tests.exporters.kernels.inference.test_pixels import (
    test_every_batch_gives_each_image_the_same_features as check_batch,
)
from tests.exporters.kernels.training.test_convolution import Case, compare

CASES = (
    Case(),
    Case(batch=1, size=(2, 2)),
    Case(batch=33, size=(4, 4), density=1.0, outer=9),
    Case(batch=16, size=(7, 5), stride=(2, 2)),
    Case(batch=15, size=(19, 13), kernel=(7, 7), stride=(2, 2), padding=(3, 3), density=1.0),
    Case(batch=2, kernel=(1, 1), padding=(0, 0), stride=(2, 3), inner=6),
    Case(batch=3, groups=4, inner=1, outer=1, density=1.0),
    Case(batch=5, kernel=(2, 4), padding=(0, 3), dilation=(2, 3), size=(9, 11)),
    Case(batch=9, density=0.0),
    Case(batch=64, size=(2, 2), inner=6, outer=5),
)


def overrun() -> None:
    """Read far behind a buffer: the sanitizer must end the process here."""
    kernels = library("float32")
    shape = Blocked(kernels.lanes, 1000, 8, 8, kernels.lanes)
    few = np.zeros(16, np.float32)
    out = np.zeros(shape.numel, np.float32)
    kernels.to_blocked(ctypes.byref(shape.c), few.ctypes.data, out.ctypes.data, 1)


def training_step() -> None:
    """Forward and backward of a whole network, against the masked dense one in float64."""
    dense = generate("resnet18", "uniform", 0.95, 3).train()
    mask = {name: kept for name, kept in mask_of(dense).items() if kept.ndim == 4}
    sparse = sparsify_module(dense, mask, threads=2)
    images, labels = torch.randn(3, 3, 33, 33), torch.arange(3)
    losses = [functional.cross_entropy(m(images), labels) for m in (sparse, dense)]
    torch.autograd.backward(losses[0])
    assert torch.allclose(losses[0], losses[1], rtol=1e-4)


def main() -> None:
    """Run everything once; a sanitizer that finds something ends the process."""
    start = time.perf_counter()
    isa = supported_isas()[0]
    library("float32", isa).prepare()
    print(f"compiled for {isa} after {time.perf_counter() - start:.0f} s", flush=True)
    for case in CASES:
        compare(case, isa, 2, torch.float32, 2e-5)
    for batch in (1, 3, 17):
        check_batch(isa, batch)
    for size, batch in ((64, 13), (32, 70)):
        check_folds(isa, size, batch, 2)
    training_step()
    print(f"nothing found after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    overrun() if sys.argv[1:] == ["overrun"] else main()
