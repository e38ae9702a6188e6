"""What a training minimises and how its network is judged: one objective a kind of task.

The loop, its steps, the calibration and the rehearsal know batches, a loss and a score; what these
are for labels is here, for boxes in :mod:`sparsebench.bench.training.boxes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import (
    BatchPart,
    DeviceImages,
    ResizedImages,
    Source,
    augmented_batches,
    device_augmented_batches,
    send,
)
from sparsebench.bench.records import packed
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.scores import score
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.feed import training_batches
from sparsebench.bench.training.network import Network, load_network
from sparsebench.models.cards import Preprocessing

if TYPE_CHECKING:
    from sparsebench.bench.training.online import Learner
    from sparsebench.bench.training.recipe import TrainRecipe
    from sparsebench.bench.training.source import TrainingData


class Targets(Protocol):
    """What is wanted of a batch: a tensor of class numbers, or what is cut as one."""

    def tensor_split(self, pieces: int) -> Sequence[Any]:
        """As :meth:`torch.Tensor.tensor_split`."""
        ...

    def __getitem__(self, images: Any) -> Self:
        """Of a slice of the batch."""
        ...


Fed = tuple[NDArray[np.int64], Tensor, Any]
"""Positions ``[n]``, images ``[n, 3, size, size]`` and their :class:`Targets`, on the device."""


class Objective(Protocol):
    """One kind of task, as a training sees it.

    Attributes:
        classes: C.
    """

    classes: int

    def network(self, backbone: str, seed: int, *, device: str) -> Network:
        """A backbone with the new, dense layers that the task asks for.

        Raises:
            SparsebenchError: the backbone cannot be had, or is not fit for it.
        """
        ...

    def online_head(
        self, features: int, facts: Mapping[str, Any], recipe: TrainRecipe, seed: int
    ) -> Learner:
        """A new head on an engine's outputs of this task's kind.

        Args:
            features: width of an output's row.
            facts: of the artifact that the engine runs.
            recipe: of the optimizer.
            seed: of the first weights.

        Raises:
            SparsebenchError: no head can be trained on them.
        """
        ...

    def images(self, decoded: ResizedImages, split: str) -> Any:
        """A side's images with what is on them: a :class:`Source` with a method ``subset``."""
        ...

    def batches(
        self,
        data: TrainingData,
        batch_size: int,
        execution: Execution,
        *,
        seed: int,
        epoch: int,
        clock: StageClock | None = None,
        part: BatchPart | None = None,
    ) -> Iterator[Fed]:
        """One epoch in random order, augmented; see :func:`training_batches`."""
        ...

    def some_batch(
        self, data: TrainingData, batch_size: int, execution: Execution
    ) -> tuple[Tensor, Any]:
        """Images (where the source has them) and targets (on the device) of a first batch."""
        ...

    def loss(self, outputs: Tensor, targets: Any) -> Tensor:
        """The mean loss of a batch, a scalar, in fp32 whatever the outputs are."""
        ...

    def answers(self, outputs: Tensor) -> Any:
        """What the network says of a batch, as little of it as is needed, on any device."""
        ...

    def gathered(self, source: Source, answers: Sequence[tuple[NDArray[np.int64], Any]]) -> Any:
        """The answers of all batches with their positions, as one for the whole source."""
        ...

    def score(self, source: Source, found: Any, metric: str) -> float:
        """How good gathered answers are, 0-1."""
        ...

    def kept(self, source: Source, found: Any, seed: int) -> dict[str, Any]:
        """What is kept of the test side's answers: fields of a :class:`Trained`."""
        ...


class Labels:
    """Classification: cross-entropy, one answer an image.

    Args:
        classes: C; 0 where no network is asked for.
    """

    def __init__(self, classes: int = 0) -> None:
        self.classes = classes

    def network(self, backbone: str, seed: int, *, device: str) -> Network:
        """As :meth:`Objective.network`."""
        return load_network(backbone, self.classes, seed, device=device)

    def online_head(
        self, features: int, facts: Mapping[str, Any], recipe: TrainRecipe, seed: int
    ) -> Learner:
        """As :meth:`Objective.online_head`: a linear classifier."""
        from sparsebench.bench.training.online import OnlineHead

        return OnlineHead(features, self.classes, recipe, seed)

    def images(self, decoded: ResizedImages, split: str) -> ResizedImages:
        """As :meth:`Objective.images`: they have their labels."""
        return decoded

    def batches(
        self,
        data: TrainingData,
        batch_size: int,
        execution: Execution,
        *,
        seed: int,
        epoch: int,
        clock: StageClock | None = None,
        part: BatchPart | None = None,
    ) -> Iterator[Fed]:
        """As :meth:`Objective.batches`."""
        labels = torch.from_numpy(data.train.labels)
        for indices, images in training_batches(
            data.train,
            data.preprocessing,
            batch_size,
            execution,
            seed=seed,
            epoch=epoch,
            clock=clock,
            part=part,
        ):
            yield indices, images, send(labels[torch.from_numpy(indices)], execution.device)

    def some_batch(
        self, data: TrainingData, batch_size: int, execution: Execution
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`Objective.some_batch`."""
        source, card = data.train, data.preprocessing
        if isinstance(source, DeviceImages):
            indices, images = next(
                device_augmented_batches(source, card, batch_size, seed=0, epoch=0)
            )
        else:
            indices, pixels = next(augmented_batches(source, card, batch_size, seed=0, epoch=0))
            images = torch.from_numpy(pixels)
        return images, torch.from_numpy(source.labels[indices]).to(execution.device)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """As :meth:`Objective.loss`: cross-entropy, nats."""
        return functional.cross_entropy(outputs.float(), targets)

    def answers(self, outputs: Tensor) -> Tensor:
        """As :meth:`Objective.answers`: class numbers ``[n]``."""
        return outputs.argmax(1)

    def gathered(
        self, source: Source, answers: Sequence[tuple[NDArray[np.int64], Tensor]]
    ) -> NDArray[np.int64]:
        """As :meth:`Objective.gathered`: class numbers ``[n]``."""
        found = np.empty(len(source), np.int64)
        for indices, classes in answers:
            found[indices] = classes.cpu().numpy()
        return found

    def score(self, source: Source, found: NDArray[np.int64], metric: str) -> float:
        """As :meth:`Objective.score`."""
        return score(metric, source.labels, found)

    def kept(self, source: Source, found: NDArray[np.int64], seed: int) -> dict[str, Any]:
        """As :meth:`Objective.kept`."""
        return {"right": packed(found == source.labels)}


def of_labels(task: Task, preprocessing: Preprocessing) -> Labels:
    """The objective of a classification task."""
    return Labels(len(task.classes))
