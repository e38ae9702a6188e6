"""Full fine-tuning of a network: every non-zero weight trains, the mask stays.

The recipe is the paper's (its script ``main.py``): random crops and mirror images, SGD with
momentum and weight decay on everything, batch norm in training mode; see
:mod:`bench.training.recipe`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.pictures import Source, augmented_batches, centred_batches
from bench.stages import StageClock
from bench.training.divergence import check_loss
from bench.training.history import Epoch, Trained
from bench.training.network import Network
from bench.training.optimizer import MaskedSGD
from bench.training.recipe import TrainRecipe
from bench.training.scores import score
from bench.training.source import TrainingData
from models.errors import SparsebenchError


@dataclass(frozen=True)
class Execution:
    """How the loop runs, as opposed to what it computes.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16`` (autocast; weights and updates stay float32).
        channels_last: memory format of weights and pictures.
        kernels: compute with the suite's own sparse kernels instead of PyTorch's layers.
        compile: fuse the network with ``torch.compile``.
        accumulate: pieces a batch is computed in, where it does not fit into memory as one;
            batch norm then sees the pieces.
        threads: of everything on the CPU.
        deterministic: only kernels that give the same bits every time.
    """

    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False
    kernels: bool = False
    compile: bool = False
    accumulate: int = 1
    threads: int = 1
    deterministic: bool = False


def train_network(
    network: Network,
    data: TrainingData,
    recipe: TrainRecipe,
    execution: Execution,
    *,
    seed: int,
    clock: StageClock | None = None,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train, choose, evaluate.

    Stages of the clock: ``augment`` (waiting for pictures), ``forward``, ``backward``,
    ``optimizer``, ``evaluate``.

    Args:
        network: trained in place; its mask stays as it is.
        data: pictures.
        recipe: of the optimizer.
        execution: how it runs.
        seed: order of the pictures and crops.
        clock: that began with the loading; a new one by default.
        say: told after every epoch.

    Raises:
        SparsebenchError: the loss is no finite number (says where and at which rate), or a
            pruned weight came back.
    """
    clock = clock or StageClock()
    runner = StepRunner(network, data, recipe, execution, clock)
    epochs: list[Epoch] = []
    best, best_epoch, best_state = -1.0, recipe.epochs - 1, None
    for number in range(recipe.epochs):
        loss = runner.epoch(number, seed)
        validation = None
        with clock.stage("evaluate"):
            if len(data.validation):
                validation = runner.accuracy(data.validation)
                # The last epoch needs no copy, and an equal later one is not better.
                if validation > best:
                    best, best_epoch = validation, number
                    last = number == recipe.epochs - 1
                    best_state = None if last else copy.deepcopy(network.module.state_dict())
        epochs.append(Epoch(clock.total, loss, validation))
        if say:
            shown = "" if validation is None else f", validation {validation:.1%}"
            say(f"epoch {number + 1}/{recipe.epochs}, loss {loss:.3f}{shown}")
    with clock.stage("evaluate"):
        final = runner.accuracy(data.test)
    clock.stop()
    facts = _mask_facts(network)
    chosen = final
    if best_state is not None:  # beside the clock: nobody needs both
        network.module.load_state_dict(best_state)
        chosen = runner.accuracy(data.test)
    return Trained(
        seed=seed,
        seconds=clock.total,
        stages=clock.seconds,
        busy=clock.busy_seconds,
        epochs=tuple(epochs),
        last=final,
        best=chosen,
        best_epoch=best_epoch,
        facts=facts,
    )


class StepRunner:
    """The steps of one training.

    Args:
        network: trained in place.
        data: pictures.
        recipe: of the optimizer.
        execution: how it runs; the network is in its memory format.
        clock: gets the stages.
    """

    def __init__(
        self,
        network: Network,
        data: TrainingData,
        recipe: TrainRecipe,
        execution: Execution,
        clock: StageClock,
    ) -> None:
        self.network, self.data, self.recipe = network, data, recipe
        self.execution, self.clock = execution, clock
        self.module: Callable[[Tensor], Tensor] = network.module
        if execution.compile:
            self.module = torch.compile(network.module)
        self.optimizer = MaskedSGD(
            network.module.parameters(),
            network.sparse,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )

    def epoch(self, number: int, seed: int) -> float:
        """One epoch; its mean loss."""
        data, recipe, clock = self.data, self.recipe, self.clock
        self.network.module.train()
        labels = torch.from_numpy(data.train.labels)
        batches = augmented_batches(
            data.train,
            data.preprocessing,
            recipe.batch_size,
            seed=seed,
            epoch=number,
            workers=self.execution.threads,
            clock=clock,
        )
        steps = -(-len(data.train) // recipe.batch_size)
        total = 0.0
        for step in range(steps):
            with clock.stage("augment"):
                indices, pixels = next(batches)
                images = self.to_device(torch.from_numpy(pixels))
                targets = labels[torch.from_numpy(indices)].to(self.execution.device)
            rate = recipe.rate(number, step / steps)
            if len(indices) == 1 and step:
                continue  # batch norm cannot be trained on a single picture
            loss = self.step(images, targets, rate)
            check_loss(loss, recipe, seed=seed, epoch=number, step=step, rate=rate)
            total += loss * len(indices)
        return total / len(data.train)

    def step(self, images: Tensor, targets: Tensor, rate: float) -> float:
        """One update; the mean loss of the batch."""
        clock, pieces = self.clock, min(self.execution.accumulate, len(images))
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part, wanted in zip(images.chunk(pieces), targets.chunk(pieces), strict=True):
            with clock.stage("forward"):
                with self._autocast():
                    logits = self.module(part)
                loss = functional.cross_entropy(logits.float(), wanted)
                share = loss * (len(part) / len(images))
            with clock.stage("backward"):
                torch.autograd.backward(share)
                total += float(share.detach())
        with clock.stage("optimizer"):
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.step()
        return total

    def accuracy(self, source: Source) -> float:
        """In evaluation mode, 0-1."""
        module = self.network.module.eval()
        found = np.empty(len(source), np.int64)
        batches = centred_batches(
            source,
            self.data.preprocessing,
            self.recipe.batch_size,
            workers=self.execution.threads,
        )
        with torch.inference_mode(), self._autocast():
            for indices, pixels in batches:
                logits = module(self.to_device(torch.from_numpy(pixels)))
                found[indices] = logits.argmax(1).cpu().numpy()
        return score(self.data.metric, source.labels, found)

    def some_batch(self) -> tuple[Tensor, Tensor]:
        """Pictures (on the CPU) and labels (on the device) of a first batch, for trying out."""
        source, size = self.data.train, self.recipe.batch_size
        indices, pixels = next(
            augmented_batches(source, self.data.preprocessing, size, seed=0, epoch=0)
        )
        labels = torch.from_numpy(source.labels[indices])
        return torch.from_numpy(pixels), labels.to(self.execution.device)

    def to_device(self, images: Tensor) -> Tensor:
        """Pictures in the execution's memory format, on its device."""
        if self.execution.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self.execution.device.startswith("cuda"):
            images = images.pin_memory()  # only then does the copy not wait
        return images.to(self.execution.device, non_blocking=True)

    def _autocast(self) -> Any:
        return torch.autocast(
            torch.device(self.execution.device).type,
            torch.bfloat16,
            enabled=self.execution.precision == "bf16",
        )


def _mask_facts(network: Network) -> dict[str, Any]:
    """Proof that no pruned weight came back.

    Raises:
        SparsebenchError: one did.
    """
    if not network.masked:
        return {"after_training_mask": None}
    revived = network.revived()
    if revived:
        raise SparsebenchError(f"{revived} pruned weights came back in the training.")
    return {"after_training_mask": network.backbone_mask_hash()}


@contextmanager
def configured(execution: Execution) -> Iterator[None]:
    """PyTorch's threads and determinism for one training; put back afterwards."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(execution.deterministic)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
