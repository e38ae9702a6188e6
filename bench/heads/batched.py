"""SGD on the heads of several seeds as one batched problem, in PyTorch.

It is fast because

- the gradient of softmax regression is written down (``probabilities - one-hot``), so there
  is no autograd;
- one gather and two batched matrix products serve all seeds, into buffers that are made
  once;
- classes come before images in memory (``[S, C, B]``): both products then have long rows,
  which halves their time for few classes, and the softmax runs along vectors;
- the bias is a column of the weights and ones a column of the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.linear import LinearHeads
from sparsebench.bench.heads.problem import Problem, Training

# Rows of 64 bytes: every row begins on a cache line.
_ALIGN = 16


class BatchedTraining(Training):
    """Heads in training in PyTorch; see :class:`Training`."""

    name = "torch"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self._one_decay = problem.weight_decays is None
        padded = -(-(self.width + 1) // _ALIGN) * _ALIGN
        self.features = torch.zeros(self.count, padded)
        self.features.numpy()[:, : self.width] = problem.features
        self.features[:, self.width] = 1.0
        self.weights = torch.zeros(len(self.seeds), self.classes, padded)
        self.weights[:, :, : self.width], self.weights[:, :, self.width] = self._initial()
        self.velocity = torch.zeros_like(self.weights)
        size = min(self.recipe.batch_size, self.count)
        self.full = _Buffers(self, size)
        rest = self.count % size
        self.rest = _Buffers(self, rest) if rest else None

    def run(self, first: int, rates: Sequence[float]) -> NDArray[np.float64]:
        """Train for some epochs; see :class:`Training`."""
        epochs = [self._epoch(first + i, rate) for i, rate in enumerate(rates)]
        return np.stack(epochs)

    def heads(self, losses: NDArray[np.float64]) -> LinearHeads:
        """The heads as they are now; shares memory."""
        weights = self.weights.numpy()
        return LinearHeads(
            weights[:, :, : self.width], weights[:, :, self.width], self.seeds, losses, self.name
        )

    def _epoch(self, epoch: int, rate: float) -> NDArray[np.float64]:
        """One pass over the images; the mean training loss of each seed."""
        recipe = self.recipe
        weights, velocity, features = self.weights, self.velocity, self.features
        decays = self.decays.view(-1, 1, 1)
        kept: list[torch.Tensor] = []
        for buffers, images, targets in self._batches():
            # `kept` holds each image's probability of its own class, for the loss.
            hits = torch.empty(targets.shape)
            for indices, places, hit in zip(images, targets, hits, strict=True):
                torch.index_select(features, 0, indices, out=buffers.rows)
                torch.bmm(weights, buffers.batch_t, out=buffers.scores)
                torch.softmax(buffers.scores, 1, out=buffers.probabilities)
                torch.index_select(buffers.flat, 0, places, out=hit)
                buffers.flat.index_add_(0, places, buffers.minus_one)
                velocity.baddbmm_(
                    buffers.probabilities,
                    buffers.batch,
                    beta=recipe.momentum,
                    alpha=1 / buffers.size,
                )
                if self._one_decay:
                    velocity.add_(weights, alpha=recipe.weight_decay)
                else:
                    velocity.addcmul_(weights, decays)
                weights.add_(velocity, alpha=-rate)
            kept.append(hits.view(len(hits), len(self.seeds), buffers.size))
        return self._losses(kept, epoch)

    def _batches(
        self,
    ) -> Iterator[tuple[_Buffers, Sequence[torch.Tensor], torch.Tensor]]:
        """Buffers, image numbers and target positions of an epoch's full, then last batches.

        Image numbers and targets are ``[steps, S * B]``, in the order of each seed.
        """
        orders = self._orders(1)[0]
        done = 0
        for buffers in (self.full, self.rest):
            if buffers is None:
                continue
            steps = (self.count - done) // buffers.size
            part = orders[:, done : done + steps * buffers.size]
            images = part.view(len(orders), steps, buffers.size).transpose(0, 1)
            targets = buffers.starts + self.labels[images] * buffers.size
            yield buffers, images.reshape(steps, -1).unbind(0), targets.reshape(steps, -1)
            done += steps * buffers.size

    def _losses(self, kept: Sequence[torch.Tensor], epoch: int) -> NDArray[np.float64]:
        """Mean loss of each seed from ``[steps, S, B]`` probabilities.

        Raises:
            SparsebenchError: one of them is not a number any more.
        """
        total = torch.zeros(len(self.seeds), dtype=torch.float64)
        step = 0
        for hits in kept:
            bad = hits.isnan().any(dim=2)
            if bad.any():
                first, head = (int(i) for i in bad.nonzero()[0])
                raise self.diverged(head, epoch, step + first)
            # A probability that underflows counts as the smallest there is: 87.3 nats.
            total -= hits.double().clamp_min(torch.finfo(hits.dtype).tiny).log().sum(dim=(0, 2))
            step += len(hits)
        means: NDArray[np.float64] = (total / self.count).numpy()
        return means


class _Buffers:
    """Views for batches of one size: gathered features, scores and their transposes."""

    def __init__(self, training: BatchedTraining, size: int) -> None:
        seeds, classes, width = training.weights.shape
        rows = torch.empty(seeds * size, width)
        self.rows = rows
        self.batch = rows.view(seeds, size, width)
        self.batch_t = self.batch.transpose(1, 2)
        self.scores = torch.empty(seeds, classes, size)
        self.probabilities = torch.empty(seeds, classes, size)
        self.flat = self.probabilities.view(-1)
        self.minus_one = torch.full((seeds * size,), -1.0)
        # Position of (seed, class 0, image) in `flat`; the class adds `size` each.
        seed_start = torch.arange(seeds)[:, None] * (classes * size)
        self.starts = seed_start + torch.arange(size)
        self.size = size
