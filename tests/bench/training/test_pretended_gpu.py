"""A training process on a pretended GPU, from its job to its answers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsebench.bench.training import calibrate, process
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.models.cards import Preprocessing
from tests.bench.training.small import SPARSE
from tests.pretended_gpu import pretended_gpu

CARD = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def trained(images: Path, device: str, **changes: Any) -> dict[str, Any]:
    job = Job(
        backbone=SPARSE,
        task=str(images),
        task_options={},
        preprocessing=CARD,
        recipe=TrainRecipe("short", 2, 0.005, 8),
        seeds=(1,),
        validation=0.2,
        device=device,
        precision="fp32",
        threads=1,
        **changes,
    )
    said = io.StringIO()
    with pretended_gpu():
        process._work(job, said)
    answers: dict[str, Any] = {}
    for line in said.getvalue().splitlines():
        answers |= json.loads(line)
    return answers


@pytest.fixture(scope="module")
def here(images: Path) -> dict[str, Any]:
    """The training on the CPU."""
    found: dict[str, Any] = trained(images, "cpu", tune=False)["trained"]
    return found


@pytest.mark.parametrize("deterministic", [False, True])
def test_it_trains_as_on_the_cpu(
    images: Path, here: dict[str, Any], deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 images in batches of 8, 8 and 4: graphs where they are the fastest, losses together."""
    monkeypatch.setattr(calibrate, "_GPU_STEPS", 1)
    monkeypatch.setattr(calibrate, "ROUNDS", 1)
    there = trained(images, "cuda", deterministic=deterministic)
    facts, tuning = there["trained"]["facts"], there["facts"]["tuning"]
    assert facts["data_on_device"] and facts["peak_gpu_bytes"] and "without_graphs" not in facts
    assert not tuning["rejected"], tuning
    assert any("graphs" in name for name in tuning["seconds"])
    losses = [[epoch["loss"] for epoch in one["epochs"]] for one in (there["trained"], here)]
    # Crops are resized on the device, where a few values differ by a step of 255.
    assert np.allclose(losses[0], losses[1], rtol=0.05)
    assert facts["after_training_mask"] == here["facts"]["after_training_mask"] is not None
