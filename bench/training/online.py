"""Online linear fine-tuning: every step augments, extracts through the engine, updates a head.

This is what the paper timed. The backbone is frozen; its features come from a compiled engine
session, without gradients; the head's gradient is written down (softmax regression), and is
that of ``torch.nn.Linear`` with cross-entropy and ``torch.optim.SGD`` (a test holds it to
that).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.features.flight import BatchRunner, through_engine
from sparsebench.bench.heads.fit import torch_threads
from sparsebench.bench.images import augmented_batches, centred_batches
from sparsebench.bench.records import packed
from sparsebench.bench.tasks.scores import score
from sparsebench.bench.training.divergence import LossWatch
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.bench.training.trained import Epoch, Trained


class OnlineHead:
    """A linear classifier and its optimizer.

    Args:
        features: D.
        classes: C.
        recipe: momentum, weight decay, Nesterov.
        seed: of the first weights, those of ``torch.nn.Linear``.
    """

    def __init__(self, features: int, classes: int, recipe: TrainRecipe, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            linear = torch.nn.Linear(features, classes)
        self.recipe = recipe
        # The bias is the last column, and a one the last feature.
        self.weights = torch.cat([linear.weight.detach(), linear.bias.detach()[:, None]], 1)
        self.velocity = torch.zeros_like(self.weights)

    def step(self, features: NDArray[np.float32], labels: NDArray[np.int64], rate: float) -> float:
        """One update.

        Args:
            features: ``[n, D]``.
            labels: ``[n]``.
            rate: learning rate.

        Returns:
            The mean cross-entropy before the update, nats.
        """
        recipe = self.recipe
        x, y = _with_ones(features), torch.from_numpy(labels)
        log_probabilities = torch.log_softmax(x @ self.weights.t(), 1)
        loss = -float(log_probabilities.gather(1, y[:, None]).mean())
        error = log_probabilities.exp_()
        error[torch.arange(len(y)), y] -= 1
        gradient = error.t() @ x / len(y)
        gradient.add_(self.weights, alpha=recipe.weight_decay)
        self.velocity.mul_(recipe.momentum).add_(gradient)
        if recipe.nesterov:
            gradient.add_(self.velocity, alpha=recipe.momentum)
        else:
            gradient = self.velocity
        self.weights.add_(gradient, alpha=-rate)
        return loss

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Class numbers ``[n]`` of features ``[n, D]``."""
        found: NDArray[np.int64] = (_with_ones(features) @ self.weights.t()).argmax(1).numpy()
        return found


# The head's step is a fraction of a millisecond while the engine computes the next batch on all
# cores: a second thread of PyTorch's would have the first wait until the engine lets it run.
@torch_threads(1)
def train_online(
    runner: BatchRunner,
    data: TrainingData,
    recipe: TrainRecipe,
    classes: int,
    *,
    seed: int,
    threads: int,
    clock: StageClock,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train one head through the engine, choose, evaluate.

    Stages: ``augment`` (waiting for images), ``extract`` (the engine), ``head``, ``evaluate``.

    Args:
        runner: the engine; its compiled batch is the batch of a step.
        data: images.
        recipe: of the optimizer.
        classes: number of classes.
        seed: of the head, the order and the crops.
        threads: that make the images.
        clock: that began with the decoding.
        say: told after every epoch.

    Raises:
        SparsebenchError: a loss that diverged (says where and at which rate).
    """
    head = OnlineHead(runner.feature_dim, classes, recipe, seed)
    watch = LossWatch(recipe, seed=seed, classes=classes)
    epochs: list[Epoch] = []
    best, best_epoch, best_weights = -1.0, recipe.epochs - 1, None
    labels = data.train.labels
    steps = -(-len(labels) // runner.batch_size)
    for number in range(recipe.epochs):
        total = 0.0
        batches = augmented_batches(
            data.train,
            data.preprocessing,
            runner.batch_size,
            seed=seed,
            epoch=number,
            workers=threads,
            clock=clock,
        )
        for step, (indices, features) in enumerate(
            through_engine(runner, batches, clock, "augment")
        ):
            rate = recipe.rate(number, step / steps)
            with clock.stage("head"):
                loss = head.step(features, labels[indices], rate)
            watch.check(loss, epoch=number, step=step, rate=rate)
            total += loss * len(indices)
        watch.end_epoch(number)
        validation = None
        with clock.stage("evaluate"):
            if len(data.validation):
                validation = _accuracy(runner, head, data, "validation", threads)
                if validation > best:
                    best, best_epoch = validation, number
                    best_weights = head.weights.clone()
        epochs.append(Epoch(clock.total, total / len(labels), validation))
        if say:
            say(f"epoch {number + 1}/{recipe.epochs}")
    with clock.stage("evaluate"):
        found = _predicted(runner, head, data, "test", threads)
        last = score(data.metric, data.test.labels, found)
    clock.stop()
    chosen = last
    if best_weights is not None and best_epoch != recipe.epochs - 1:  # beside the clock
        head.weights = best_weights
        chosen = _accuracy(runner, head, data, "test", threads)
    return Trained(
        seed=seed,
        seconds=clock.total,
        stages=clock.seconds,
        busy=clock.busy_seconds,
        epochs=tuple(epochs),
        last=last,
        best=chosen,
        best_epoch=best_epoch,
        process_seconds=clock.process_seconds,
        run_delay_seconds=clock.run_delay_seconds,
        right=packed(found == data.test.labels),
    )


def _accuracy(
    runner: BatchRunner, head: OnlineHead, data: TrainingData, split: str, threads: int
) -> float:
    source = data.test if split == "test" else data.validation
    return score(data.metric, source.labels, _predicted(runner, head, data, split, threads))


def _predicted(
    runner: BatchRunner, head: OnlineHead, data: TrainingData, split: str, threads: int
) -> NDArray[np.int64]:
    """Class numbers ``[n]`` of a split."""
    source = data.test if split == "test" else data.validation
    found = np.empty(len(source), np.int64)
    batches = centred_batches(source, data.preprocessing, runner.batch_size, workers=threads)
    for indices, features in through_engine(runner, batches, StageClock(), "decode"):
        found[indices] = head.predict(features)
    return found


def _with_ones(features: NDArray[np.float32]) -> Tensor:
    rows = torch.ones(len(features), features.shape[1] + 1)
    rows[:, :-1] = torch.from_numpy(features)
    return rows
