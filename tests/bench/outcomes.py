"""Synthetic runs that kept which test images were right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.records import Accuracy, Outcomes, RunFolder
from sparsebench.bench.tasks.scores import score
from tests.bench.statistics.crossed_model import Model
from tests.bench.synthetic import SEEDS, SyntheticRun


def write_with_outcomes(
    run: SyntheticRun,
    path: Path,
    model: Model,
    *,
    seed: int = 0,
    metric: str = "top1",
    labels: NDArray[np.int64] | None = None,
) -> RunFolder:
    """The run as a folder, whose cells of ``linear-cached`` have answers drawn from a model.

    Args:
        run: its sparse cells get the model's sparse answers, dense ones the dense ones.
        path: of the folder.
        model: of the accuracies.
        seed: of the draw; the same images are as hard in every cell.
        metric: of the accuracies.
        labels: of the test split, as many as the task says.
    """
    (images,) = {r.task.test for r in run.records}
    assert images is not None
    if labels is None:
        labels = np.arange(images) % 10
    rng = np.random.default_rng(seed)
    sides = [side[0] for side in model.draw(rng, 1, len(SEEDS), images)]
    with RunFolder.open(path) as folder:
        for trial in run.trials:
            folder.append_trial(trial)
        for record in run.records:
            if record.accuracy is not None:
                right = sides[int(record.backbone.is_dense)]
                kept = folder.write_outcomes(record.id, Outcomes(SEEDS, right, labels))
                scores = [score(metric, labels, np.where(row, labels, -1)) for row in right]
                accuracy = Accuracy.of(metric, scores, SEEDS, correct=(kept,))
                task = replace(record.task, metric=metric)
                record = replace(record, accuracy=accuracy, task=task)
            elif metric != record.task.metric:
                record = replace(record, task=replace(record.task, metric=metric))
            folder.append_record(record)
    return RunFolder.reading(path)
