"""Images of one training: decoded, and split into training, validation and test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import Source, decode_resized
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.validation_split import validation_split
from sparsebench.bench.training.objective import Labels, Objective
from sparsebench.models.cards import Preprocessing


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Images of one training.

    Attributes:
        train: to train on.
        validation: chooses the best epoch; may be empty.
        test: evaluated at the end.
        preprocessing: of all of them.
        metric: of the task.
        objective: what is trained for, and how it is judged.
    """

    train: Source
    validation: Source
    test: Source
    preprocessing: Preprocessing
    metric: str
    objective: Objective = field(default_factory=Labels)


def decode_task(
    task: Task,
    preprocessing: Preprocessing,
    share: float,
    *,
    threads: int,
    clock: StageClock,
    progress: Callable[[int, int], None] | None = None,
    objective: Objective | None = None,
) -> TrainingData:
    """Decode a task once, for all epochs of a training.

    Args:
        task: the images.
        preprocessing: at the size of the training.
        share: of the training images that validates.
        threads: that decode.
        clock: gets the stage ``decode``.
        progress: told (images decoded, images to decode) of a split.
        objective: of the task's kind; by default that of labels.

    Raises:
        SparsebenchError: an image that can no longer be read, no room for what memory does
            not hold.
    """
    objective = objective or Labels(len(task.classes))
    train, test = (
        objective.images(
            decode_resized(
                task, split, preprocessing, workers=threads, clock=clock, progress=progress
            ),
            split,
        )
        for split in ("train", "test")
    )
    chosen, held = validation_split(task.train.labels, share)
    parts = (train.subset(chosen), train.subset(held), test)
    return TrainingData(*parts, preprocessing, task.metric, objective)
