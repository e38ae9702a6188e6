"""One resumable training loop for every method.

Order of images and augmentation depend on the seed and the step alone, and the
checkpoint holds network, optimizer and method, so a training that was killed ends
where an uninterrupted one would have ended.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.models.cuda_graphs import Forward
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.matrix_products import products_pay, use_matrix_products
from sparsebench.models.memory_format import training_format
from sparsebench.models.sparsify.data import DecodedImages, augment, epoch_batches
from sparsebench.models.sparsify.distill import Distillation
from sparsebench.models.sparsify.graphs import GraphOfEachSide
from sparsebench.models.sparsify.interrupt import Interrupt
from sparsebench.models.sparsify.method import Method, Recipe, Run
from sparsebench.models.sparsify.resume import (
    VERSION,
    Position,
    Progress,
    load_training,
    save_training,
)

_SILENT_SECONDS = 10.0


@dataclass(frozen=True)
class Execution:
    """How the loop runs, as opposed to what it computes.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"bf16"`` (autocast), ``"fp32"``, or ``"auto"``: bf16 where the
            processor computes in it and the network gains from it.
        compile: fuse the network with ``torch.compile`` (a minute to begin, then faster).
        graphs: replay the network as a CUDA graph, uncompiled; by default on a GPU.
        checkpoint_seconds: at most this much work is lost by a kill.
        report_steps: steps between two reports of progress, where these take no longer than
            ten seconds; the first step is reported at once.
    """

    device: str = "cpu"
    precision: str = "auto"
    compile: bool = False
    graphs: bool | None = None
    checkpoint_seconds: float = 180.0
    report_steps: int = 20

    @property
    def replays(self) -> bool:
        """Whether the network is replayed as a CUDA graph."""
        on_gpu = self.device.startswith("cuda")
        return not self.compile and (on_gpu if self.graphs is None else self.graphs)

    def bf16(self, module: nn.Module) -> bool:
        """Whether forward and backward passes of a network run in bf16."""
        if self.precision != "auto":
            return self.precision == "bf16"
        if self.device.startswith("cuda"):
            return bool(torch.cuda.is_bf16_supported())
        if any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in module.modules()):
            # oneDNN's gradients of depthwise convolutions: EfficientNet-lite0 at 96 px trains
            # 33 images a second in bf16 and 56 in fp32, on one core with bf16 instructions.
            return False
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return True
        # Here oneDNN also emulates bf16, slowly, on processors without instructions for it.
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        known = [getattr(torch.cpu, name) for name in probes if hasattr(torch.cpu, name)]
        return not known or any(probe() for probe in known)


def train(
    module: nn.Module,
    weights: dict[str, nn.Parameter],
    examples: DecodedImages,
    method: Method,
    recipe: Recipe,
    epochs: int,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    execution: Execution | None = None,
    progress: Callable[[Progress], None] | None = None,
    distillation: Distillation | None = None,
    said: dict[str, Any] | None = None,
) -> list[Progress]:
    """Train ``module`` in place.

    An interrupt (Ctrl-C) is answered after the step that it falls into, with a checkpoint.

    Args:
        module: the whole classifier.
        weights: name -> weight of each prunable layer of ``module``.
        examples: the training split.
        method: what removes weights.
        recipe: of the optimizer.
        epochs: over the whole training split.
        seed: order of images and augmentation.
        checkpoint: file to resume from if it exists, and to write now and then.
        execution: device, precision, compilation.
        progress: called every few steps.
        distillation: what else the outputs shall resemble.
        said: what else a checkpoint must agree on to be resumed, e.g. the architecture.

    Returns:
        The last report of each epoch.

    Raises:
        SparsebenchError: fewer images than a batch, a checkpoint of another training,
            or a NaN loss.
        KeyboardInterrupt: after an interrupt.
    """
    execution = execution or Execution()
    steps_per_epoch = len(examples.labels) // recipe.batch_size
    if steps_per_epoch == 0:
        raise SparsebenchError(
            f"{len(examples.labels)} training images do not fill a batch of {recipe.batch_size}.",
            "Lower the batch size.",
        )
    layout = training_format(module, execution.device)
    module.to(execution.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        module.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    run = Run(
        module,
        weights,
        optimizer,
        total_steps=epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        batches=lambda: _statistics_batches(examples, recipe, seed, execution.device, layout),
        seed=seed,
        bf16=execution.bf16(module),
    )
    if execution.device == "cpu" and products_pay(run.bf16):
        use_matrix_products(module)
    method.prepare(run)
    identity = {
        "version": VERSION,
        "method": method.name,
        "sparsity": method.sparsity,
        "epochs": epochs,
        "seed": seed,
        "pictures": len(examples.labels),
        "recipe": asdict(recipe),
        **(said or {}),
    }
    position = None
    if checkpoint is not None:
        position = load_training(
            checkpoint, identity, module, optimizer, method, execution.device, run.total_steps
        )
    if position is None:
        position = Position()
        method.on_start(run)

    # One fused network for each side of the images: few sides, and faster than a general one.
    forward: Forward = torch.compile(module, dynamic=False) if execution.compile else module
    if execution.replays:
        forward = GraphOfEachSide(module, torch.device(execution.device).type, run.bf16)
    # The first checkpoint comes sooner: what is begun is often ended in its first minutes.
    saved = time.monotonic() - 5 / 6 * execution.checkpoint_seconds
    told = -math.inf
    with Interrupt() as interrupt:
        while position.step < run.total_steps:
            module.train()
            epoch, first = divmod(position.step, steps_per_epoch)
            for raw, labels in epoch_batches(examples, recipe.batch_size, seed, epoch, first):
                done = position.step / run.total_steps
                rate = recipe.learning_rate * method.learning_rate(done)
                side = recipe.side(done, examples.images.shape[-1])
                images = _input(raw.to(execution.device), recipe, seed, position.step, side)
                images = images.contiguous(memory_format=layout)
                loss, right = _step(
                    run,
                    method,
                    forward,
                    images,
                    labels.to(execution.device),
                    rate,
                    position.step,
                    execution,
                    distillation,
                )
                position.step += 1
                counted = (loss * len(labels), right, len(labels))
                position.sums = [a + b for a, b in zip(position.sums, counted, strict=True)]
                ends = position.step % steps_per_epoch == 0
                silent = time.monotonic() - told > _SILENT_SECONDS
                if ends or silent or position.step % execution.report_steps == 0:
                    told = time.monotonic()
                    report = _report(run, method, position, epoch, rate, ends)
                    if progress is not None:
                        progress(report)
                    if ends:
                        position.history.append(report)
                        position.sums = [0.0, 0.0, 0.0]
                late = time.monotonic() - saved > execution.checkpoint_seconds
                last = position.step == run.total_steps
                if checkpoint is not None and (late or last or interrupt.came):
                    save_training(checkpoint, identity, module, optimizer, method, position)
                    saved = time.monotonic()
                if interrupt.came:
                    raise KeyboardInterrupt
    method.on_end(run)
    return position.history


def _input(raw: Tensor, recipe: Recipe, seed: int, step: int, side: int) -> Tensor:
    """Augmented float32 ``[B, 3, side, side]``, the same for the same seed and step."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return augment(raw, generator, (recipe.min_area, 1.0), side)


def _statistics_batches(
    examples: DecodedImages, recipe: Recipe, seed: int, device: str, layout: torch.memory_format
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches in an order of their own: an epoch and steps that no training reaches."""
    side = examples.images.shape[-1]
    raw_batches = epoch_batches(examples, recipe.batch_size, seed, 10**6)
    for step, (raw, labels) in enumerate(raw_batches, start=10**9):
        images = _input(raw.to(device), recipe, seed, step, side)
        yield images.contiguous(memory_format=layout), labels.to(device)


def _step(
    run: Run,
    method: Method,
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    rate: float,
    step: int,
    execution: Execution,
    distillation: Distillation | None,
) -> tuple[float, float]:
    """One step of the optimizer with the method's hooks: (mean loss, images right)."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    method.before_step(run, step)
    device_type = torch.device(execution.device).type
    with torch.autocast(device_type, torch.bfloat16, enabled=run.bf16):
        logits = forward(images)
        taught = distillation.logits(images) if distillation is not None else None
    loss = functional.cross_entropy(logits.float(), labels)
    if distillation is not None and taught is not None:
        loss = distillation.mix(loss, logits.float(), taught.float())
    # Fetched together, before the backward pass: a GPU works on while the host draws new images.
    right = (logits.argmax(1) == labels).sum()
    value, count = torch.stack((loss.detach(), right.to(loss.dtype))).tolist()
    if not math.isfinite(value):
        raise SparsebenchError(
            f"The loss is NaN or infinite after {step} steps.", "Lower the learning rate."
        )
    run.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if method.after_backward(run, step):
        run.optimizer.step()
    method.after_step(run, step)
    return value, count


def _report(
    run: Run, method: Method, position: Position, epoch: int, rate: float, ends: bool
) -> Progress:
    loss, right, count = position.sums
    return Progress(
        epoch=epoch,
        step=position.step,
        total_steps=run.total_steps,
        loss=loss / count,
        accuracy=right / count,
        sparsity=method.current_sparsity(run),
        learning_rate=rate,
        epoch_done=ends,
    )
