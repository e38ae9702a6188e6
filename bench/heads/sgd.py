"""SGD heads of several seeds as one batched problem.

The result is that of one plain PyTorch loop a seed::

    torch.manual_seed(seed)
    head = torch.nn.Linear(D, C)
    optimizer = torch.optim.SGD(head.parameters(), lr, momentum, weight_decay=weight_decay)
    for epoch in range(epochs):
        for batch in torch.randperm(n).split(batch_size):
            loss = cross_entropy(head(features[batch]), labels[batch])
            optimizer.zero_grad(); loss.backward(); optimizer.step()

with the same initial weights and the same order of pictures, up to float32 rounding (a test
holds it to that). It is fast because

- the gradient of softmax regression is written down (``probabilities - one-hot``), so there
  is no autograd;
- one gather and two batched matrix products serve all seeds, into buffers that are made
  once;
- classes come before pictures in memory (``[S, C, B]``): both products then have long rows,
  which halves their time for few classes, and the softmax runs along vectors;
- the bias is a column of the weights and ones a column of the features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from bench.heads.linear import LinearHeads, check_training_set
from bench.heads.recipe import LinearRecipe
from models.errors import SparsebenchError

# Rows of 64 bytes: every row begins on a cache line.
_ALIGN = 16

OnEpoch = Callable[[int, LinearHeads], None]


def train_sgd(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    recipe: LinearRecipe,
    on_epoch: OnEpoch | None = None,
    *,
    weight_decays: Sequence[float] | None = None,
) -> LinearHeads:
    """Train one head a seed with the same recipe, all at once.

    The training features are held in memory once, besides what is passed in.

    Args:
        features: ``[n, D]``, float32.
        labels: ``[n]``, ``0 .. classes - 1``.
        classes: number of classes C.
        recipe: settings; ``recipe.seeds`` gives S heads.
        on_epoch: called after every epoch (from 0) with the heads as they are then; they
            share memory with the training and are only valid during the call.
        weight_decays: instead of one head a seed, one head for each of these weight decays,
            all with the recipe's first seed.

    Raises:
        SparsebenchError: labels or features no head can be trained on; a loss that is no
            longer a finite number (says at which seed, epoch, step and rate).
    """
    check_training_set(features, labels, classes)
    decays = None
    if weight_decays is not None:
        # The same seed for all: LinearHeads then names it once a head.
        decays = torch.tensor(weight_decays, dtype=torch.float32).view(-1, 1, 1)
    with torch.inference_mode():
        training = _Training(features, labels, classes, recipe, decays)
        losses = np.zeros((recipe.epochs, len(training.seeds)))
        for epoch, rate in enumerate(recipe.rates()):
            losses[epoch] = training.epoch(epoch, rate)
            if on_epoch:
                on_epoch(epoch, training.heads(losses[: epoch + 1]))
        now = training.heads(losses)
    finite = np.isfinite(now.weights).all(axis=(1, 2)) & np.isfinite(now.bias).all(axis=1)
    if not finite.all():  # the very last step did it
        steps = -(-len(features) // recipe.batch_size)
        seed = training.seeds[int(np.flatnonzero(~finite)[0])]
        raise _diverged(recipe, seed, recipe.epochs - 1, steps - 1, recipe.rates()[-1])
    return LinearHeads(now.weights.copy(), now.bias.copy(), now.seeds, losses)


class _Buffers:
    """Views for batches of one size: gathered features, scores and their transposes."""

    def __init__(self, training: _Training, size: int) -> None:
        seeds, classes, width = training.weights.shape
        rows = torch.empty(seeds * size, width)
        self.rows = rows
        self.batch = rows.view(seeds, size, width)
        self.batch_t = self.batch.transpose(1, 2)
        self.scores = torch.empty(seeds, classes, size)
        self.probabilities = torch.empty(seeds, classes, size)
        self.flat = self.probabilities.view(-1)
        self.minus_one = torch.full((seeds * size,), -1.0)
        # Position of (seed, class 0, picture) in `flat`; the class adds `size` each.
        seed_start = torch.arange(seeds)[:, None] * (classes * size)
        self.starts = seed_start + torch.arange(size)
        self.size = size


class _Training:
    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        classes: int,
        recipe: LinearRecipe,
        decays: torch.Tensor | None,
    ) -> None:
        self.recipe = recipe
        self.count, self.width = features.shape
        self.decays = decays
        self.seeds = recipe.seeds if decays is None else recipe.seeds[:1] * len(decays)
        seeds = len(self.seeds)
        padded = -(-(self.width + 1) // _ALIGN) * _ALIGN
        self.features = torch.zeros(self.count, padded)
        self.features.numpy()[:, : self.width] = features
        self.features[:, self.width] = 1.0
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.weights = torch.zeros(seeds, classes, padded)
        self.velocity = torch.zeros_like(self.weights)
        self.generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        for head, generator in zip(self.weights, self.generators, strict=True):
            _initialise(head, self.width, generator)
        size = min(recipe.batch_size, self.count)
        self.full = _Buffers(self, size)
        rest = self.count % size
        self.rest = _Buffers(self, rest) if rest else None

    def epoch(self, epoch: int, rate: float) -> NDArray[np.float64]:
        """One pass over the pictures; the mean training loss of each seed."""
        recipe = self.recipe
        weights, velocity, features = self.weights, self.velocity, self.features
        kept: list[torch.Tensor] = []
        for buffers, pictures, targets in self._batches():
            # `kept` holds each picture's probability of its own class, for the loss.
            hits = torch.empty(targets.shape)
            for indices, places, hit in zip(pictures, targets, hits, strict=True):
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
                if self.decays is None:
                    velocity.add_(weights, alpha=recipe.weight_decay)
                else:
                    velocity.addcmul_(weights, self.decays)
                weights.add_(velocity, alpha=-rate)
            kept.append(hits.view(len(hits), len(self.seeds), buffers.size))
        return self._losses(kept, epoch, rate)

    def heads(self, losses: NDArray[np.float64]) -> LinearHeads:
        """The heads as they are now; shares memory."""
        weights = self.weights[:, :, : self.width].numpy()
        return LinearHeads(weights, self.weights[:, :, self.width].numpy(), self.seeds, losses)

    def _batches(
        self,
    ) -> Iterator[tuple[_Buffers, Sequence[torch.Tensor], torch.Tensor]]:
        """Buffers, picture numbers and target positions of an epoch's full, then last batches.

        Picture numbers and targets are ``[steps, S * B]``, in the order of each seed.
        """
        orders = torch.stack(
            [torch.randperm(self.count, generator=generator) for generator in self.generators]
        )
        done = 0
        for buffers in (self.full, self.rest):
            if buffers is None:
                continue
            steps = (self.count - done) // buffers.size
            part = orders[:, done : done + steps * buffers.size]
            pictures = part.view(len(orders), steps, buffers.size).transpose(0, 1)
            targets = buffers.starts + self.labels[pictures] * buffers.size
            yield buffers, pictures.reshape(steps, -1).unbind(0), targets.reshape(steps, -1)
            done += steps * buffers.size

    def _losses(self, kept: Sequence[torch.Tensor], epoch: int, rate: float) -> NDArray[np.float64]:
        """Mean loss of each seed from ``[steps, S, B]`` probabilities.

        Raises:
            SparsebenchError: one of them is not a number any more.
        """
        total = torch.zeros(len(self.seeds), dtype=torch.float64)
        step = 0
        for hits in kept:
            bad = hits.isnan().any(dim=2)
            if bad.any():
                first, seed = (int(i) for i in bad.nonzero()[0])
                raise _diverged(self.recipe, self.seeds[seed], epoch, step + first, rate)
            # A probability that underflows counts as the smallest there is: 87.3 nats.
            total -= hits.double().clamp_min(torch.finfo(hits.dtype).tiny).log().sum(dim=(0, 2))
            step += len(hits)
        means: NDArray[np.float64] = (total / self.count).numpy()
        return means


def _initialise(head: torch.Tensor, width: int, generator: torch.Generator) -> None:
    """Fill ``[C, padded]`` with what ``torch.nn.Linear`` would draw; the bias in column D."""
    weight = torch.empty(len(head), width)
    bias = torch.empty(len(head))
    torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(width)
    torch.nn.init.uniform_(bias, -bound, bound, generator=generator)
    head[:, :width] = weight
    head[:, width] = bias


def _diverged(
    recipe: LinearRecipe, seed: int, epoch: int, step: int, rate: float
) -> SparsebenchError:
    return SparsebenchError(
        f"Training the head diverged: the loss is no finite number (seed {seed}, epoch {epoch}, "
        f"step {step}, learning rate {rate:g}).",
        f"Take a smaller learning rate than {recipe.lr:g}.",
    )
