"""What goes through a graph and what does not; the graph itself is a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.losses import mean_loss
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.bench.training.steps import StepRunner
from sparsebench.models.cards import Preprocessing
from sparsebench.models.cuda_graphs import CaptureError, Forward, GraphedForward
from tests.bench.training.small import small_network

CARD = Preprocessing(20, 22, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
GRAPHS = Execution(graphs=True)


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    """20 images to train on, 4 to validate."""
    return decode_task(open_task(str(images)), CARD, 0.2, threads=1, clock=StageClock())


class Recorder:
    """Captures as PyTorch does: warms up with the sample, then replays one shape of batch."""

    def __init__(self) -> None:
        self.captured: list[torch.Size] = []
        self.replayed: list[torch.Size] = []
        self.sample = torch.empty(0)

    def __call__(self, module: nn.Module, images: Tensor) -> Forward:
        self.captured.append(images.shape)
        self.sample = images
        for _ in range(3):
            module(images)
            torch.rand(1)  # as dropout would
        mode = module.training

        def replay(batch: Tensor) -> Tensor:
            assert module.training == mode and batch.shape == images.shape
            self.replayed.append(batch.shape)
            images.copy_(batch)
            logits: Tensor = module(images)
            return logits

        return replay


def test_full_batches_are_replayed_and_nothing_else(data: TrainingData) -> None:
    recorder = Recorder()
    recipe = TrainRecipe("paper", 2, 0.1, 8)
    runner = StepRunner(small_network(), data, recipe, GRAPHS, StageClock(), capture=recorder)
    full = torch.Size([8, 3, 20, 20])
    for number in range(2):
        runner.epoch(number, 1)  # 8, 8 and 4 images
        assert recorder.replayed == [full] * 2 * (number + 1)
        runner.accuracy(data.test)  # 8 and 4
        assert recorder.replayed == [full] * 2 * (number + 1)
    assert recorder.captured == [full]
    assert runner.without_graphs is None and runner.clock.seconds["capture"] > 0


def test_training_with_graphs_is_training_without(data: TrainingData) -> None:
    """Weights, batch norm's statistics and losses, bit for bit."""
    recipe = TrainRecipe("paper", 2, 0.1, 8)
    states, losses = [], []
    for execution in (Execution(), GRAPHS):
        network = small_network()
        runner = StepRunner(network, data, recipe, execution, StageClock(), capture=Recorder())
        losses.append([runner.epoch(number, 1) for number in range(2)])
        states.append(network.module.state_dict())
    assert losses[0] == losses[1]
    assert int(states[0]["1.num_batches_tracked"]) == 6
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_capture_leaves_buffers_and_randomness_as_they_were() -> None:
    module = small_network().module.train()
    before = {name: (b.data_ptr(), b.clone()) for name, b in module.named_buffers()}
    images = torch.rand(4, 3, 20, 20)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    recorder = Recorder()
    GraphedForward(module, recorder).capture(images)
    assert torch.equal(torch.rand(1), expected)
    for name, buffer in module.named_buffers():
        place, value = before[name]
        # A graph knows places, so the same ones must hold the values.
        assert buffer.data_ptr() == place and torch.equal(buffer, value), name
    assert recorder.sample.data_ptr() != images.data_ptr()


def test_a_mode_that_was_not_captured_runs_as_ever() -> None:
    module = small_network().module.train()
    recorder = Recorder()
    graphed = GraphedForward(module, recorder)
    images = torch.rand(4, 3, 20, 20)
    graphed.capture(images)
    graphed(images)
    module.eval()
    graphed(images)
    assert len(recorder.replayed) == 1


def failing(module: nn.Module, images: Tensor) -> Forward:
    module(images)
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def test_a_capture_that_fails_says_why_and_leaves_the_network_as_it_was() -> None:
    module = small_network().module.train()
    before = {name: b.clone() for name, b in module.named_buffers()}
    with pytest.raises(CaptureError, match=r"not permitted when stream is capturing\)"):
        GraphedForward(module, failing).capture(torch.rand(4, 3, 20, 20))
    assert all(torch.equal(before[name], b) for name, b in module.named_buffers())


def test_a_training_that_cannot_have_a_graph_goes_on_without(data: TrainingData) -> None:
    recipe = TrainRecipe("paper", 1, 0.1, 8)
    plain = StepRunner(small_network(), data, recipe, Execution(), StageClock())
    runner = StepRunner(small_network(), data, recipe, GRAPHS, StageClock(), capture=failing)
    assert runner.epoch(0, 1) == plain.epoch(0, 1)
    assert runner.without_graphs is not None and "stream is capturing" in runner.without_graphs


@pytest.mark.parametrize(
    "execution", [Execution(graphs=True, accumulate=2), Execution(graphs=True, kernels=True)]
)
def test_pieces_and_kernels_have_no_graphs(data: TrainingData, execution: Execution) -> None:
    recorder = Recorder()
    recipe = TrainRecipe("paper", 1, 0.1, 8)
    runner = StepRunner(small_network(), data, recipe, execution, StageClock(), capture=recorder)
    runner.epoch(0, 1)
    assert recorder.captured == []


def test_the_loss_of_a_step_is_the_mean_cross_entropy(data: TrainingData) -> None:
    recipe = TrainRecipe("paper", 1, 0.1, 8)
    network = small_network()
    runner = StepRunner(network, data, recipe, Execution(accumulate=3), StageClock())
    images, targets = runner.some_batch()
    expected = nn.functional.cross_entropy(network.module(images), targets)
    assert mean_loss(runner.step(images, targets, 0.0)) == pytest.approx(float(expected.detach()))
