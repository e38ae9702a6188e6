"""What is compiled for a size of batch is compiled before the clock runs, and timed apart."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.heartbeat import Beat, silent
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.bench.training.steps import StepRunner


def rehearse(
    network: Network,
    data: TrainingData,
    recipe: TrainRecipe,
    execution: Execution,
    *,
    beat: Beat = silent,
) -> float:
    """Run every size of batch of a training once, at a learning rate of 0.

    The suite's kernels compile the pattern of each layer for a number of images,
    ``torch.compile`` the whole network, and on a GPU the libraries load what they need with the
    first call of each size; in eager PyTorch on a CPU there is nothing to compile, and nothing
    is run. Weights and batch norm's statistics are afterwards what they were.

    Args:
        network: to be trained, in the memory format of `execution`.
        data: images.
        recipe: its batch size counts.
        execution: how the training will run.
        beat: told of every size.

    Returns:
        Seconds that it took: a one-off cost.
    """
    began = time.perf_counter()
    if not needs_rehearsal(execution):
        return 0.0
    module = network.module
    saved = {name: buffer.clone() for name, buffer in module.named_buffers()}
    # A graph is captured by the training itself, in a stage of its own.
    runner = StepRunner(network, data, recipe, replace(execution, graphs=False), StageClock())
    images, targets = runner.some_batch()
    images = runner.to_device(images)
    module.train()
    for size in sizes(len(data.train), recipe.batch_size):
        beat(f"preparing for batches of {size}")
        if size > 1:  # batch norm cannot be trained on a single image
            runner.step(images[:size], targets[:size], 0.0)
    module.eval()
    with torch.inference_mode(), execution.autocast():
        for source in (data.validation, data.test):
            for size in sizes(len(source), recipe.batch_size):
                beat(f"preparing for batches of {size}")
                # Any images do, and the evaluation may have larger batches than the training.
                module(torch.zeros_like(images[:1]).expand(size, -1, -1, -1).contiguous())
    for parameter in module.parameters():
        parameter.grad = None
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(saved[name])
    if execution.on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def needs_rehearsal(execution: Execution) -> bool:
    """Whether the first batch of a size costs what the others do not."""
    return execution.kernels or execution.compile or execution.on_gpu


def sizes(images: int, batch_size: int) -> tuple[int, ...]:
    """Of the batches that so many images make: whole ones and the rest."""
    whole, rest = divmod(images, batch_size)
    return ((batch_size,) if whole else ()) + ((rest,) if rest else ())
