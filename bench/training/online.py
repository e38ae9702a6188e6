"""Online linear fine-tuning: every step augments, extracts through the engine, updates a head.

This is what the paper timed. The backbone is frozen; its features come from a compiled engine
session, without gradients; the head's gradient is written down (softmax regression), and is
that of ``torch.nn.Linear`` with cross-entropy and ``torch.optim.SGD`` (a test holds it to
that).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads.features.flight import BatchRunner, Labelled, through_engine
from sparsebench.bench.heads.fit import torch_threads
from sparsebench.bench.images import Source, centred_batches
from sparsebench.bench.training.divergence import LossWatch
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.bench.training.trained import Epoch, Trained


class Learner(Protocol):
    """A head with its optimizer.

    Attributes:
        threads: of PyTorch's that its steps are worth; 0 for all.
    """

    threads: int

    def step(self, features: NDArray[np.float32], targets: Any, rate: float) -> float:
        """One update on features ``[n, D]`` at a learning rate; the mean loss before it."""
        ...

    def predict(self, features: NDArray[np.float32]) -> Tensor:
        """What an :class:`Objective` gathers, of features ``[n, D]``."""
        ...

    def weights_now(self) -> Any:
        """A copy of the weights, for :meth:`restore`."""
        ...

    def restore(self, weights: Any) -> None:
        """Go back to earlier weights."""
        ...


class OnlineHead:
    """A linear classifier and its optimizer.

    Args:
        features: D.
        classes: C.
        recipe: momentum, weight decay, Nesterov.
        seed: of the first weights, those of ``torch.nn.Linear``.
    """

    # Its step is a fraction of a millisecond while the engine computes the next batch on all cores:
    # a second thread of PyTorch's would have the first wait until the engine lets it run.
    threads = 1

    def __init__(self, features: int, classes: int, recipe: TrainRecipe, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            linear = torch.nn.Linear(features, classes)
        self.recipe = recipe
        # The bias is the last column, and a one the last feature.
        self.weights = torch.cat([linear.weight.detach(), linear.bias.detach()[:, None]], 1)
        self.velocity = torch.zeros_like(self.weights)

    def step(self, features: NDArray[np.float32], targets: Tensor, rate: float) -> float:
        """One update.

        Args:
            features: ``[n, D]``.
            targets: class numbers ``[n]``, int64.
            rate: learning rate.

        Returns:
            The mean cross-entropy before the update, nats.
        """
        recipe = self.recipe
        x, y = _with_ones(features), targets
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

    def predict(self, features: NDArray[np.float32]) -> Tensor:
        """Class numbers ``[n]`` of features ``[n, D]``."""
        return (_with_ones(features) @ self.weights.t()).argmax(1)

    def weights_now(self) -> Tensor:
        """As :meth:`Learner.weights_now`."""
        return self.weights.clone()

    def restore(self, weights: Tensor) -> None:
        """As :meth:`Learner.restore`."""
        self.weights = weights


def train_online(
    runner: BatchRunner,
    data: TrainingData,
    recipe: TrainRecipe,
    head: Learner,
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
        data: images, and what the head is trained for.
        recipe: of the optimizer.
        head: trained in place.
        seed: of the order and the crops.
        threads: that make the images.
        clock: that began with the decoding.
        say: told after every epoch.

    Raises:
        SparsebenchError: a loss that diverged (says where and at which rate).
    """
    with torch_threads(head.threads or threads):
        return _train(runner, data, recipe, head, seed, threads, clock, say)


def _train(
    runner: BatchRunner,
    data: TrainingData,
    recipe: TrainRecipe,
    head: Learner,
    seed: int,
    threads: int,
    clock: StageClock,
    say: Callable[[str], None] | None,
) -> Trained:
    objective, execution = data.objective, Execution(threads=threads)
    watch = LossWatch(recipe, seed=seed, classes=objective.classes)
    epochs: list[Epoch] = []
    best, best_epoch, best_weights = -1.0, recipe.epochs - 1, None
    steps = -(-len(data.train) // runner.batch_size)
    waiting: deque[Any] = deque()  # targets of the batches that the engine has

    def images_of(epoch: int) -> Iterator[Labelled]:
        for indices, images, targets in objective.batches(
            data, runner.batch_size, execution, seed=seed, epoch=epoch, clock=clock
        ):
            waiting.append(targets)
            yield indices, images.numpy()

    for number in range(recipe.epochs):
        total = 0.0
        waiting.clear()
        for step, (indices, features) in enumerate(
            through_engine(runner, images_of(number), clock, "augment")
        ):
            rate = recipe.rate(number, step / steps)
            with clock.stage("head"):
                loss = head.step(features, waiting.popleft(), rate)
            watch.check(loss, epoch=number, step=step, rate=rate)
            total += loss * len(indices)
        watch.end_epoch(number)
        validation = None
        with clock.stage("evaluate"):
            if len(data.validation):
                found = _found(runner, head, data, data.validation, threads)
                validation = objective.score(data.validation, found, data.metric)
                if validation > best:
                    best, best_epoch = validation, number
                    best_weights = head.weights_now()
        epochs.append(Epoch(clock.total, total / len(data.train), validation))
        if say:
            say(f"epoch {number + 1}/{recipe.epochs}")
    with clock.stage("evaluate"):
        found = _found(runner, head, data, data.test, threads)
        last = objective.score(data.test, found, data.metric)
    clock.stop()
    kept, chosen = objective.kept(data.test, found, seed), last
    if best_weights is not None and best_epoch != recipe.epochs - 1:  # beside the clock
        head.restore(best_weights)
        found = _found(runner, head, data, data.test, threads)
        chosen = objective.score(data.test, found, data.metric)
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
        **kept,
    )


def _found(
    runner: BatchRunner, head: Learner, data: TrainingData, source: Source, threads: int
) -> Any:
    """What the head says of all images of a source."""
    batches = centred_batches(source, data.preprocessing, runner.batch_size, workers=threads)
    return data.objective.gathered(
        source,
        [
            (indices, head.predict(features))
            for indices, features in through_engine(runner, batches, StageClock(), "decode")
        ],
    )


def _with_ones(features: NDArray[np.float32]) -> Tensor:
    rows = torch.ones(len(features), features.shape[1] + 1)
    rows[:, :-1] = torch.from_numpy(features)
    return rows
