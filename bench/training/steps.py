"""Steps of a training: forward, backward, update; and how good the network is."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import Source
from sparsebench.bench.training.device_time import DeviceStages, Event, gpu_event
from sparsebench.bench.training.distributed.group import Group
from sparsebench.bench.training.distributed.shared_step import SharedStep
from sparsebench.bench.training.divergence import LossWatch
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.feed import evaluation_batches, on_device
from sparsebench.bench.training.heartbeat import Beat, silent
from sparsebench.bench.training.losses import LossLedger
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.objective import Targets
from sparsebench.bench.training.optimizer import MaskedSGD
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData
from sparsebench.models.cuda_graphs import Capture, CaptureError, Forward, GraphedForward

# Every step that the host is ahead of the device keeps a batch in pinned memory.
STEPS_AHEAD = 4
ALONE = nullcontext()


class StepRunner:
    """The steps of one training.

    Args:
        network: trained in place.
        data: images.
        recipe: of the optimizer.
        execution: how it runs; the network is in its memory format.
        clock: gets the stages ``augment``, ``forward``, ``backward``, ``optimizer``, on a GPU
            by the device's time (:mod:`sparsebench.bench.training.device_time`), and ``capture``.
        capture: makes graphs; PyTorch's by default.
        event: marks the device's time; by default on a GPU alone.
        beat: told after every step of an epoch and every batch of an evaluation.
        group: the processes that share every batch; all of them take the same steps.
    """

    def __init__(
        self,
        network: Network,
        data: TrainingData,
        recipe: TrainRecipe,
        execution: Execution,
        clock: StageClock,
        *,
        capture: Capture | None = None,
        event: Callable[[], Event] | None = None,
        beat: Beat = silent,
        group: Group | None = None,
    ) -> None:
        self.network, self.data, self.recipe = network, data, recipe
        self.execution, self.clock, self.beat, self.group = execution, clock, beat, group
        self.stages = DeviceStages(clock, event or (gpu_event if execution.on_gpu else None))
        self._watch: LossWatch | None = None
        self.graphs: GraphedForward | None = None
        self.without_graphs: str | None = None
        self.module: Forward = network.module
        self.shared = None if group is None else SharedStep(network, group)
        if self.shared is not None:
            self.module = self.shared.module
        elif execution.compile:
            self.module = torch.compile(network.module)
        elif execution.graphs and execution.may_have_graphs:
            self.module = self.graphs = GraphedForward(network.module, capture)
        self.optimizer = MaskedSGD(
            network.module.parameters(),
            network.sparse,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )

    def epoch(self, number: int, seed: int) -> float:
        """One epoch; its mean loss.

        Raises:
            SparsebenchError: a loss diverged (says where and at which rate).
        """
        data, recipe, execution = self.data, self.recipe, self.execution
        self.network.module.train()
        batches = data.objective.batches(
            data,
            recipe.batch_size,
            execution,
            seed=seed,
            epoch=number,
            clock=self.clock,
            part=None if self.group is None else self.group.part,
        )
        watch = self._watch_of(seed)
        losses = LossLedger(
            recipe,
            seed=seed,
            epoch=number,
            every=execution.losses_every,
            watch=watch,
            group=self.group,
        )
        steps = -(-len(data.train) // recipe.batch_size)
        for step in range(steps):
            with self.stages.stage("augment"):
                _, images, targets = next(batches)
            rate = recipe.rate(number, step / steps)
            whole = min(recipe.batch_size, len(data.train) - step * recipe.batch_size)
            if whole == 1 and step:
                continue  # batch norm cannot be trained on a single image
            self.prepare(images)
            self.noted_step(images, targets, rate, step, losses, whole)
            with self.clock.stage("backward"):
                self.stages.hold_back(STEPS_AHEAD * (2 + 2 * execution.accumulate))
            self.beat(f"epoch {number + 1}/{recipe.epochs}, step {step + 1}/{steps}")
        self._fetch(losses)
        watch.end_epoch(number)
        return losses.mean(len(data.train))

    def noted_step(
        self,
        images: Tensor,
        targets: Targets,
        rate: float,
        step: int,
        losses: LossLedger,
        whole: int | None = None,
    ) -> None:
        """One update whose loss is fetched when its turn comes.

        Raises:
            SparsebenchError: a loss diverged (says where and at which rate).
        """
        shares = self.step(images, targets, rate, whole)
        losses.add(shares, images=whole or len(images), step=step, rate=rate)
        if losses.full:
            self._fetch(losses)

    def step(
        self, images: Tensor, targets: Targets, rate: float, whole: int | None = None
    ) -> Sequence[Tensor]:
        """One update.

        Args:
            images: on the device, in the execution's memory format.
            targets: what the objective wants of them, on the device.
            rate: learning rate.
            whole: images of the batch of all processes; by default what is given is all.

        Returns:
            What each piece of the batch adds to its mean loss; still on the device.
        """
        # Batch norm learns nothing from a single image: every piece has two at least.
        count = whole or len(images)
        smallest = len(images) if self.group is None else self.group.smallest(count)
        total = count if self.group is None else self.group.computed(count)
        pieces = max(1, min(self.execution.accumulate, smallest // 2))
        parts = zip(images.tensor_split(pieces), targets.tensor_split(pieces), strict=True)
        self.optimizer.zero_grad(set_to_none=True)
        shares: list[Tensor] = []
        for number, (part, wanted) in enumerate(parts, start=1):
            shared = self.shared.piece(count, last=number == pieces) if self.shared else ALONE
            with shared:
                with self.stages.stage("forward"):
                    with self.execution.autocast():
                        outputs = self.module(part)
                    loss = self.data.objective.loss(outputs, wanted)
                    share = loss * (len(part) / total)
                with self.stages.stage("backward"):
                    torch.autograd.backward(share)
                    shares.append(share.detach())
        with self.stages.stage("optimizer"):
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.step()
        return shares

    def prepare(self, images: Tensor) -> None:
        """Capture full batches with the first of them, if the execution wants graphs.

        A graph is there to save time: a training that cannot have one goes on, and
        :attr:`without_graphs` says why.

        Args:
            images: the next batch on the device, in the execution's memory format.
        """
        if not self.graphs or self.graphs.captured or len(images) != self.recipe.batch_size:
            return
        try:
            self.capture(images)
        except CaptureError as error:
            self.graphs, self.module = None, self.network.module
            self.without_graphs = str(error)
        if self.without_graphs and self.execution.on_gpu:  # what the failure still holds
            gc.collect()
            torch.cuda.empty_cache()

    def capture(self, images: Tensor) -> None:
        """Capture full batches as a graph, if the execution wants graphs.

        Args:
            images: a batch on the device, in the execution's memory format.

        Raises:
            CaptureError: it is not possible, with the reason.
        """
        if self.graphs:
            with self.clock.stage("capture"), self.execution.autocast():
                self.graphs.capture(images)

    def accuracy(self, source: Source) -> float:
        """In evaluation mode, 0-1."""
        found = self.predicted(source)
        return self.data.objective.score(source, found, self.data.metric)

    def predicted(self, source: Source) -> Any:
        """What the network says of every image, in evaluation mode: class numbers ``[n]``, ..."""
        module, objective, group = self.network.module.eval(), self.data.objective, self.group
        if group is not None:
            group.same_buffers(module)
        own = source if group is None else group.own_images(source)
        batches = evaluation_batches(
            own, self.data.preprocessing, self.recipe.batch_size, self.execution
        )
        with torch.inference_mode(), self.execution.autocast():
            answers = []
            for indices, images in batches:
                answers.append((indices, objective.answers(module(images))))
                self.beat(f"evaluating, image {int(indices[-1]) + 1}/{len(own)}")
        found = objective.gathered(own, answers)  # not before all is ordered
        return found if group is None else group.whole_answers(found, len(source))

    def some_batch(self) -> tuple[Tensor, Any]:
        """Images (where the source has them) and targets (on the device) of a first batch."""
        return self.data.objective.some_batch(self.data, self.recipe.batch_size, self.execution)

    def to_device(self, images: Tensor) -> Tensor:
        """Images in the execution's memory format, on its device."""
        return on_device(images, self.execution)

    def _watch_of(self, seed: int) -> LossWatch:
        """One for all epochs of a training: what is too large depends on its first loss."""
        if self._watch is None:
            classes = int(self.data.train.labels.max()) + 1
            self._watch = LossWatch(self.recipe, seed=seed, classes=classes)
        return self._watch

    def _fetch(self, losses: LossLedger) -> None:
        with self.clock.stage("backward"):
            losses.fetch()
            self.stages.wait()
        self.stages.settle()
