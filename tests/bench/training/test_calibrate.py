"""The calibration's candidates with graphs; the graphs are stand-ins."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.calibrate import fastest, name_of
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.bench.training.steps import StepRunner
from sparsebench.models.cards import Preprocessing
from sparsebench.models.cuda_graphs import Forward
from tests.bench.training.small import small_network

CARD = Preprocessing(20, 22, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
RECIPE = TrainRecipe("short", 1, 0.1, 8)
FORMATS = {"contiguous", "channels-last", "channels-last products"}


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return decode_task(open_task(str(images)), CARD, 0.2, threads=1, clock=StageClock())


def same(module: nn.Module, images: Tensor) -> Forward:
    return module


def slow(module: nn.Module, images: Tensor) -> Forward:
    def replay(batch: Tensor) -> Tensor:
        begin = time.process_time()
        while time.process_time() < begin + 0.3:
            pass
        logits: Tensor = module(batch)
        return logits

    return replay


def wrong(module: nn.Module, images: Tensor) -> Forward:
    return lambda batch: module(batch) * 100


def impossible(module: nn.Module, images: Tensor) -> Forward:
    raise RuntimeError("a sync in the middle")


def test_graphs_of_the_better_format_are_a_candidate(data: TrainingData) -> None:
    choice = fastest(small_network(), data, RECIPE, Execution(), graphs=True, capture=same)
    (graphed,) = set(choice.seconds) - FORMATS
    assert graphed.removesuffix(" graphs") in FORMATS
    assert choice.rejected == {}
    least = choice.processor_seconds
    assert name_of(choice.execution) == min(least, key=lambda name: least[name])


def test_slow_graphs_are_not_chosen(data: TrainingData) -> None:
    choice = fastest(small_network(), data, RECIPE, Execution(), graphs=True, capture=slow)
    (graphed,) = set(choice.seconds) - FORMATS
    assert choice.seconds[graphed] >= 0.3
    assert not choice.execution.graphs


def test_a_capture_that_fails_is_a_candidate_rejected_with_its_reason(data: TrainingData) -> None:
    choice = fastest(small_network(), data, RECIPE, Execution(), graphs=True, capture=impossible)
    assert set(choice.seconds) == FORMATS and not choice.execution.graphs
    ((name, reason),) = choice.rejected.items()
    assert name.endswith(" graphs") and "a sync in the middle" in reason


def test_a_graph_that_computes_something_else_is_rejected(data: TrainingData) -> None:
    choice = fastest(small_network(), data, RECIPE, Execution(), graphs=True, capture=wrong)
    ((name, reason),) = choice.rejected.items()
    assert name.endswith(" graphs") and reason.startswith("its loss")
    assert set(choice.seconds) == FORMATS and not choice.execution.graphs


def test_a_graph_whose_backward_computes_something_else_is_rejected(data: TrainingData) -> None:
    def half_learning(module: nn.Module, images: Tensor) -> Forward:
        return lambda batch: module(batch) / 2 + module(batch).detach() / 2

    choice = fastest(small_network(), data, RECIPE, Execution(), graphs=True, capture=half_learning)
    ((name, reason),) = choice.rejected.items()
    assert name.endswith(" graphs") and reason.startswith("its gradient's norm")
    assert set(choice.seconds) == FORMATS and not choice.execution.graphs


def test_a_graph_that_leaves_no_room_for_an_ordinary_step_is_rejected(data: TrainingData) -> None:
    """The last batch of an epoch and the evaluation are ordinary."""
    network = small_network()
    room = {"full": False, "replaying": False}

    class Conv(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            if room["full"] and not room["replaying"]:
                raise torch.OutOfMemoryError("no room")
            return super().forward(input)

    def greedy(module: nn.Module, images: Tensor) -> Forward:
        room["full"] = True

        def replay(batch: Tensor) -> Tensor:
            room["replaying"] = True
            logits: Tensor = module(batch)
            room["replaying"] = False
            return logits

        return replay

    network.module[0].__class__ = Conv  # type: ignore[index]
    choice = fastest(network, data, RECIPE, Execution(), graphs=True, capture=greedy)
    ((name, reason),) = choice.rejected.items()
    assert name.endswith(" graphs") and "no room" in reason
    plain = {"contiguous", "channels-last"}  # a class of its own has no products
    assert set(choice.seconds) == plain and not choice.execution.graphs


@pytest.mark.parametrize(
    ("execution", "batch_size", "graphs"),
    [
        (Execution(), 8, None),  # a CPU has none
        (Execution(accumulate=2), 8, True),
        (Execution(), 64, True),  # there is no full batch to replay
    ],
)
def test_where_graphs_are_no_candidate(
    data: TrainingData, execution: Execution, batch_size: int, graphs: bool | None
) -> None:
    recipe = TrainRecipe("short", 1, 0.1, batch_size)
    choice = fastest(small_network(), data, recipe, execution, graphs=graphs, capture=same)
    assert set(choice.seconds) == FORMATS and choice.rejected == {}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch's other threads turn for a while after their work, also in a sleep."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_busy_machine_does_not_choose(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever takes the processor from one of the candidates takes no processor time of it."""
    step = StepRunner.step

    def disturbed(
        runner: StepRunner, images: Tensor, targets: Tensor, rate: float
    ) -> Sequence[Tensor]:
        slow = name_of(runner.execution) != "channels-last"
        time.sleep(0 if slow else 0.3)
        begin = time.process_time()
        while time.process_time() < begin + 0.05 * slow:
            pass
        return step(runner, images, targets, rate)

    monkeypatch.setattr(StepRunner, "step", disturbed)
    choice = fastest(small_network(), data, RECIPE, Execution())
    assert name_of(choice.execution) == "channels-last"
    ratio = choice.processor_seconds["contiguous"] / choice.processor_seconds["channels-last"]
    assert choice.margin == pytest.approx(ratio) and ratio > 1


def test_what_is_tried_out_is_a_training_step_and_draws_nothing(data: TrainingData) -> None:
    """Batch norm in training mode costs more than in evaluation, where it is four numbers."""
    network, modes = small_network(), []

    class Conv(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            modes.append(self.training)
            return super().forward(input)

    network.module[0].__class__ = Conv  # type: ignore[index]
    state = torch.random.get_rng_state()
    fastest(network, data, RECIPE, Execution())
    assert modes and all(modes)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not network.module.training
