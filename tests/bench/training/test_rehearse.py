"""Nothing is compiled while the clock of a training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.loop import train_network
from sparsebench.bench.training.network import load_network
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.rehearse import needs_rehearsal, rehearse, sizes
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.training.convolution import Convolution
from sparsebench.models.cards import Preprocessing
from tests.bench.training.small import DENSE, SPARSE

CARD = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
RECIPE = TrainRecipe("short", 1, 0.02, 17)  # more than the lanes of one block


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return decode_task(open_task(str(images)), CARD, 0.2, threads=1, clock=StageClock())


def test_sizes_of_batches() -> None:
    assert sizes(130, 64) == (64, 2)
    assert sizes(128, 64) == (64,)
    assert sizes(5, 64) == (5,)
    assert sizes(0, 64) == ()


def test_what_is_rehearsed_is_what_costs_more_the_first_time() -> None:
    assert not needs_rehearsal(Execution())
    for execution in (Execution("cuda"), Execution(compile=True), Execution(kernels=True)):
        assert needs_rehearsal(execution)


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
def test_after_a_rehearsal_the_kernels_compile_nothing_and_train_the_same(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Any] = []
    for name in ("_plan", "_backward_plan"):
        made = getattr(Convolution, name)

        def noted(self: Convolution, *given: Any, made: Any = made, **named: Any) -> Any:
            compiled.append(given)
            return made(self, *given, **named)

        monkeypatch.setattr(Convolution, name, noted)
    execution = Execution(kernels=True)
    plain = load_network(SPARSE, 2, 1).with_kernels(1)
    without = train_network(plain, data, RECIPE, execution, seed=1)
    assert compiled, "the training above compiles on its way"

    network = load_network(SPARSE, 2, 1).with_kernels(1)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    compiled.clear()
    assert rehearse(network, data, RECIPE, execution) > 0
    assert compiled
    after = network.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in network.module.parameters())
    compiled.clear()
    done = train_network(network, data, RECIPE, execution, seed=1)
    assert not compiled
    assert [epoch.loss for epoch in done.epochs] == [epoch.loss for epoch in without.epochs]


def test_eager_pytorch_has_nothing_to_compile(data: TrainingData) -> None:
    assert rehearse(load_network(DENSE, 2, 1), data, RECIPE, Execution()) == 0
