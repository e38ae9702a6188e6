"""Which way of running a training step is the fastest here: tried out, interleaved, recorded."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch

from bench.stages import StageClock
from bench.training.loop import Execution, StepRunner
from bench.training.network import Network
from bench.training.recipe import TrainRecipe
from bench.training.source import TrainingData
from models.errors import SparsebenchError

ROUNDS = 3
# Losses of the first steps may differ by rounding alone, more so in bf16.
_TOLERANCE = {"fp32": 1e-2, "bf16": 0.1}


@dataclass(frozen=True)
class Choice:
    """What the calibration found.

    Attributes:
        execution: the fastest correct one.
        seconds: name of each -> median seconds of a step.
        rejected: name -> why its results are not trusted.
        took: seconds of the calibration; a one-off cost.
    """

    execution: Execution
    seconds: dict[str, float]
    rejected: dict[str, str]
    took: float


def fastest(
    network: Network,
    data: TrainingData,
    recipe: TrainRecipe,
    plain: Execution,
    rivals: Sequence[tuple[Network, Execution]] = (),
) -> Choice:
    """Try memory formats and rivals on real batches, in turns; take the fastest correct one.

    The network is left as it was.

    Args:
        network: to train; in memory in the plain format.
        data: pictures.
        recipe: its batch size counts.
        plain: the execution without anything special; device, precision, threads and
            compilation stay as they are.
        rivals: the same network made for other executions; steps are tried out on them.
    """
    began = time.perf_counter()
    first_loss: float | None = None
    seconds: dict[str, list[float]] = {}
    rejected: dict[str, str] = {}
    candidates = {name_of(one): one for one in (plain, replace(plain, channels_last=True))}
    runners = {}
    for name, execution in candidates.items():
        trial = copy_of(network, execution)
        runners[name] = StepRunner(trial, data, recipe, execution, StageClock())
    for rival, execution in rivals:
        candidates[name_of(execution)] = execution
        runners[name_of(execution)] = StepRunner(rival, data, recipe, execution, StageClock())
    images, targets = runners[name_of(plain)].some_batch()
    for number in range(1 + ROUNDS):
        for name, runner in list(runners.items()):
            start = time.perf_counter()
            try:
                # At a rate of 0 every round computes the same.
                loss = runner.step(runner.to_device(images), targets, 0.0)
            except (RuntimeError, MemoryError, SparsebenchError) as error:
                rejected[name] = str(error).splitlines()[0]
                del runners[name]
                continue
            _wait(plain)
            if number == 0:  # not timed: first calls allocate and compile
                first_loss = loss if first_loss is None else first_loss
                if not abs(loss - first_loss) <= _TOLERANCE[plain.precision] * abs(first_loss):
                    rejected[name] = f"its loss {loss:g} is not {first_loss:g}"
                    del runners[name]
                continue
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    medians = {name: median(times) for name, times in seconds.items()}
    best = min(medians, key=lambda name: medians[name]) if medians else name_of(plain)
    return Choice(candidates[best], medians, rejected, time.perf_counter() - began)


def name_of(execution: Execution) -> str:
    """A short name of what differs between the candidates."""
    if execution.kernels:
        return "kernels"
    return "channels-last" if execution.channels_last else "contiguous"


def copy_of(network: Network, execution: Execution) -> Network:
    """A copy that may be trained without touching the original."""
    twin = copy.deepcopy(network)
    if execution.channels_last:
        twin.module.to(memory_format=torch.channels_last)
    return twin


def _wait(execution: Execution) -> None:
    if execution.device.startswith("cuda"):
        torch.cuda.synchronize()
