"""SGD on heads in one fused C++ kernel: gather, scores, softmax, gradient, update.

A step of one head stays in the first two caches from its images' rows to its updated
weights, and no call of a library lies between. Threads share the heads: each takes the one
that is furthest behind for an epoch. When there are many more threads than heads and a step is
long, they share its classes instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.kernel import LINE, CBlock, HeadKernel
from sparsebench.bench.heads.linear import LinearHeads
from sparsebench.bench.heads.problem import Problem, Training

# Orders of images that are drawn ahead, in bytes.
_AHEAD = 1 << 24
# Threads share a step's classes from this many operations on; below, waking them costs more.
_LONG_STEP = 10_000_000


class NativeTraining(Training):
    """Heads in training in the compiled kernel; see :class:`Training`."""

    def __init__(self, kernel: HeadKernel, problem: Problem) -> None:
        super().__init__(problem)
        self.name = f"native-{kernel.isa}"
        self.kernel = kernel
        heads, classes, padded = len(self.seeds), self.classes, _whole_lines(self.width)
        self.features = _lines(self.count, padded)
        self.features.numpy()[:, : self.width] = problem.features
        self.weights = _lines(heads, classes, padded)
        self.weights[:, :, : self.width], self.bias = self._initial()
        self.velocity = _lines(heads, classes, padded)
        self.bias_velocity = torch.zeros(heads, classes)
        self.batch = min(self.recipe.batch_size, self.count)
        self.scratch = _lines(heads, classes, _whole_lines(self.batch))

    @property
    def epochs_at_once(self) -> int:
        """As many as their orders' memory allows: threads wait for each other at the end only."""
        one: int = self.count * len(self.seeds) * 8
        return max(1, _AHEAD // one)

    def run(self, first: int, rates: Sequence[float]) -> NDArray[np.float64]:
        """Train for some epochs; see :class:`Training`."""
        heads = len(self.seeds)
        orders = self._orders(len(rates))
        paces = np.array(rates, np.float32)
        losses = np.zeros((len(rates), heads))
        diverged = np.zeros(heads, np.int64)
        block = CBlock(
            features=self.features.data_ptr(),
            labels=self.labels.data_ptr(),
            orders=orders.data_ptr(),
            rates=paces.ctypes.data,
            decays=self.decays.data_ptr(),
            weights=self.weights.data_ptr(),
            velocity=self.velocity.data_ptr(),
            bias=self.bias.data_ptr(),
            bias_velocity=self.bias_velocity.data_ptr(),
            scratch=self.scratch.data_ptr(),
            losses=losses.ctypes.data,
            diverged=diverged.ctypes.data,
            count=self.count,
            width=self.weights.shape[2],
            batch=self.batch,
            room=self.scratch.shape[2],
            epochs=len(rates),
            heads=heads,
            classes=self.classes,
            momentum=self.recipe.momentum,
        )
        threads = torch.get_num_threads()
        long = 4 * self.classes * self.width * self.batch >= _LONG_STEP
        self.kernel.train(block, threads, together=long and threads >= 2 * heads)
        where = [(step, head) for head, step in enumerate(diverged.tolist()) if step >= 0]
        if where:
            step, head = min(where)
            epoch, step = divmod(step, -(-self.count // self.batch))
            raise self.diverged(head, first + epoch, step)
        means: NDArray[np.float64] = losses / self.count
        return means

    def heads(self, losses: NDArray[np.float64]) -> LinearHeads:
        """The heads as they are now; shares memory."""
        weights = self.weights.numpy()[:, :, : self.width]
        return LinearHeads(weights, self.bias.numpy(), self.seeds, losses, self.name)


def _whole_lines(floats: int) -> int:
    return -(-floats // LINE) * LINE


def _lines(*shape: int) -> torch.Tensor:
    """Zeros that begin on a cache line."""
    whole = torch.zeros(torch.Size(shape).numel() + LINE)
    start = -whole.data_ptr() // 4 % LINE
    return whole[start : start + whole.numel() - LINE].view(shape)
