"""On a GPU, full fine-tuning computes what it computes on the CPU, and keeps up with a plain loop.

``pytest bench/sessions/test_gpu.py -s`` prints the ratios.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from sparsebench.bench.training.source import TrainingData

AS_FAST = 0.9
CLASSES = 10
BATCH = 16
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("There is no CUDA GPU here.")


@pytest.fixture(scope="module")
def noise() -> TrainingData:
    """40 images: two full batches of 16 and one of 8."""
    from sparsebench.bench.images import ResizedImages
    from sparsebench.bench.training.source import TrainingData
    from sparsebench.models.cards import Preprocessing

    generator = np.random.default_rng(0)
    shapes = np.array([(74, 74 + 5 * number) for number in range(40)], np.int32)
    starts = np.concatenate([[0], shapes.prod(axis=1).cumsum() * 3])
    pixels = generator.integers(0, 256, starts[-1]).astype(np.uint8)
    source = ResizedImages(pixels, starts, shapes, generator.integers(0, CLASSES, 40))
    return TrainingData(source, source, source, Preprocessing(64, 74), "top1")


def test_images_in_its_memory_are_those_of_the_host(noise: TrainingData) -> None:
    from sparsebench.bench.training.execution import Execution
    from sparsebench.bench.training.feed import evaluation_batches, training_batches
    from sparsebench.bench.training.placement import placed

    there, facts = placed(noise, DEVICE)
    assert facts["data_on_device"]
    card, gpu, cpu = noise.preprocessing, Execution(device=DEVICE), Execution()
    step = 1 / (255 * np.array(card.std)[:, None, None])
    for (a, x), (b, y) in zip(
        training_batches(there.train, card, BATCH, gpu, seed=1, epoch=0),
        training_batches(noise.train, card, BATCH, cpu, seed=1, epoch=0),
        strict=True,
    ):
        steps = np.abs(x.cpu().numpy() - y.numpy()) / step
        assert np.array_equal(a, b) and steps.max() <= 2.01 and steps.mean() < 0.05
    for (a, x), (b, y) in zip(
        evaluation_batches(there.test, card, BATCH, gpu),
        evaluation_batches(noise.test, card, BATCH, cpu),
        strict=True,
    ):
        assert np.array_equal(a, b) and np.array_equal(x.cpu().numpy(), y.numpy())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphs_train_the_network_that_is_trained_without(
    noise: TrainingData, precision: str
) -> None:
    from sparsebench.bench.clock.stages import StageClock
    from sparsebench.bench.training.execution import Execution
    from sparsebench.bench.training.network import load_network
    from sparsebench.bench.training.placement import placed
    from sparsebench.bench.training.recipe import TrainRecipe
    from sparsebench.bench.training.steps import StepRunner

    there, _ = placed(noise, DEVICE)
    plain = Execution(device=DEVICE, precision=precision, channels_last=True, losses_every=50)
    recipe = TrainRecipe("paper", 2, 0.001, BATCH)
    losses, means = [], []
    for execution in (plain, replace(plain, graphs=True)):
        network = load_network("resnet18/gmp-90", CLASSES, 0, device=DEVICE, channels_last=True)
        before = int(network.module.state_dict()["bn1.num_batches_tracked"])
        clock = StageClock()
        runner = StepRunner(network, there, recipe, execution, clock)
        losses.append([runner.epoch(number, 1) for number in range(2)])
        runner.accuracy(there.test)
        clock.stop()
        assert runner.without_graphs is None
        assert (runner.graphs is not None and runner.graphs.captured) == execution.graphs
        assert sum(clock.seconds.values()) == pytest.approx(clock.total)
        assert network.revived() == 0
        state = network.module.state_dict()
        # A capture's warm-up does not count.
        assert int(state["bn1.num_batches_tracked"]) - before == 6
        means.append(state["bn1.running_mean"].cpu().numpy())
    tolerance = 5e-3 if precision == "fp32" else 3e-2  # convolutions may use TF32
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)
    assert means[1] == pytest.approx(means[0], rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_full_fine_tuning_keeps_up_with_a_plain_loop(precision: str) -> None:
    """ResNet-50 at 224 px, 90 % zeros, batch 64: the loop of torchvision's reference training."""
    import torch

    script = pytest.importorskip(
        "sparsebench.results.scripts.beside_plain", reason="it lies in the repository only"
    )
    found = script.beside_plain(script.Asked(precision=precision))
    print(f"{torch.cuda.get_device_name()}, {precision}: plain over ours {found}")
    assert found.median >= AS_FAST, found
