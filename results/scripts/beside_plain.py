"""A step of ``full`` beside a plain PyTorch loop: same network, precision and batch.

The plain loop is that of torchvision's reference training (``references/classification/train.py``,
``train_one_epoch``): copy the batch to the device, forward under autocast, cross-entropy, backward,
``torch.optim.SGD``, channels-last. Ours runs as a training does: on a GPU the calibration chooses
the memory format and whether to replay a graph, and losses are fetched together. Both begin with
images in the host's memory; they take turns in rounds of steps, and a round ends when the device
is done.

    python -m sparsebench.results.scripts.beside_plain --device cuda \\
        --backbone resnet50/uniform-90@generated
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import ResizedImages, send
from sparsebench.bench.statistics import BlockPair, RatioEstimate, estimate_ratio
from sparsebench.bench.training.calibrate import fastest
from sparsebench.bench.training.execution import Execution, configured
from sparsebench.bench.training.losses import LossLedger, steps_between_fetches
from sparsebench.bench.training.network import load_network
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.bench.training.steps import StepRunner
from sparsebench.models.cards import Preprocessing

CLASSES = 100
WARM_UP = 5


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Attributes:
        backbone: its name.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16``.
        size: side of the images in pixels.
        batch: images a step.
        rounds: of both loops in turns.
        steps: of one loop in a round.
    """

    backbone: str = "resnet50/uniform-90@generated"
    device: str = "cuda"
    precision: str = "bf16"
    size: int = 224
    batch: int = 64
    rounds: int = 10
    steps: int = 10


def beside_plain(asked: Asked) -> RatioEstimate:
    """The plain loop's time over ours, with an interval over rounds: 1 is as fast, 2 twice.

    Raises:
        SparsebenchError: the backbone cannot be had.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(asked.batch, 3, asked.size, asked.size, generator=generator)
    labels = torch.randint(0, CLASSES, (asked.batch,), generator=generator)
    with configured(Execution(asked.device, threads=torch.get_num_threads())):
        return _in_turns(asked, (_ours(asked), _plain(asked)), images, labels)


def _in_turns(
    asked: Asked,
    loops: Sequence[Callable[[Tensor, Tensor], object]],
    images: Tensor,
    labels: Tensor,
) -> RatioEstimate:
    for loop in loops:
        for _ in range(WARM_UP):
            loop(images, labels)
    pairs: list[BlockPair] = []
    for number in range(asked.rounds):
        seconds = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            _wait(asked.device)
            start = time.perf_counter()
            for _ in range(asked.steps):
                loops[which](images, labels)
            _wait(asked.device)
            seconds[which] = time.perf_counter() - start
        pairs.append(BlockPair((np.array([seconds[1]]),), (np.array([seconds[0]]),)))
    return estimate_ratio(pairs)


def _ours(asked: Asked) -> Callable[[Tensor, Tensor], object]:
    execution = Execution(
        device=asked.device,
        precision=asked.precision,
        losses_every=steps_between_fetches(asked.device),
    )
    recipe = TrainRecipe("short", 1, 0.01, asked.batch)
    network = load_network(asked.backbone, CLASSES, 0, device=asked.device)
    data = _images(asked)
    if execution.on_gpu:
        execution = fastest(network, data, recipe, execution).execution
    else:
        execution = replace(execution, channels_last=True)
    network.module.to(memory_format=execution.memory_format)
    runner = StepRunner(network, data, recipe, execution, StageClock())
    network.module.train()
    losses = LossLedger(recipe, seed=0, epoch=0, every=execution.losses_every)
    steps = count()

    def step(images: Tensor, labels: Tensor) -> None:
        images = runner.to_device(images)
        labels = send(labels, asked.device)
        runner.prepare(images)
        runner.noted_step(images, labels, 0.01, next(steps), losses)

    return step


def _images(asked: Asked) -> TrainingData:
    """Of noise; they lie in the host's memory, as those of the steps do."""
    generator = np.random.default_rng(0)
    shape = (asked.batch, asked.size, asked.size, 3)
    pixels = generator.integers(0, 256, shape).astype(np.uint8)
    source = ResizedImages(
        pixels.reshape(-1),
        np.arange(asked.batch + 1) * pixels[0].size,
        np.full((asked.batch, 2), asked.size, np.int32),
        generator.integers(0, CLASSES, asked.batch),
    )
    return TrainingData(source, source, source, Preprocessing(asked.size, asked.size), "top1")


def _plain(asked: Asked) -> Callable[[Tensor, Tensor], object]:
    network = load_network(asked.backbone, CLASSES, 0, device=asked.device, channels_last=True)
    model, criterion = network.module.train(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step(images: Tensor, labels: Tensor) -> None:
        if asked.device != "cpu":  # as a DataLoader with pin_memory hands them over
            images, labels = images.pin_memory(), labels.pin_memory()
        images = images.to(asked.device, non_blocking=True)
        images = images.contiguous(memory_format=torch.channels_last)  # where it is quicker
        labels = labels.to(asked.device, non_blocking=True)
        with torch.autocast(
            torch.device(asked.device).type, torch.bfloat16, enabled=asked.precision == "bf16"
        ):
            loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def main() -> None:
    """Compare, and print the ratio with its interval."""
    parser = argparse.ArgumentParser(description=__doc__)
    plain = Asked()
    for name, value in vars(plain).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    asked = Asked(**vars(parser.parse_args()))
    found = beside_plain(asked)
    print(f"{asked}\nthe plain loop's time over ours: {found}")


if __name__ == "__main__":
    main()
