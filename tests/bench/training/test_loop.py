"""Full fine-tuning: the mask stays, the stages sum, what goes wrong is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import ResizedImages
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.calibrate import fastest, name_of
from sparsebench.bench.training.execution import TF32, Execution, configured
from sparsebench.bench.training.loop import train_network
from sparsebench.bench.training.losses import LossLedger
from sparsebench.bench.training.network import load_network
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.bench.training.steps import StepRunner
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash
from sparsebench.models.matrix_products import SmallPlaneConv2d
from sparsebench.models.zoo.load import load_backbone
from tests.bench.training.small import small_network

CARD = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SPARSE = "resnet18/gmp-90"


@pytest.fixture(scope="module")
def data(images: Path) -> TrainingData:
    return decode_task(open_task(str(images)), CARD, 0.2, threads=1, clock=StageClock())


@pytest.mark.parametrize("channels_last", [False, True])
def test_masks_after_training_are_those_before_bit_for_bit(
    data: TrainingData, channels_last: bool
) -> None:
    backbone = load_backbone(SPARSE)
    before = mask_hash({n: k for n, k in backbone.mask.items() if n != "fc.weight"})
    network = load_network(SPARSE, 2, 1, channels_last=channels_last)
    weights = {n: p.detach().clone() for n, p in network.module.named_parameters()}
    execution = Execution(channels_last=channels_last)
    done = train_network(network, data, TrainRecipe("short", 2, 0.02, 10), execution, seed=1)
    assert done.facts["after_training_mask"] == before == network.backbone_mask_hash()
    assert network.revived() == 0
    # And yet everything else moved, batch norm included.
    for name, parameter in network.module.named_parameters():
        assert not torch.equal(parameter, weights[name]), name
    assert sum(done.stages.values()) == pytest.approx(done.seconds)
    assert {"augment", "forward", "backward", "optimizer", "evaluate"} <= set(done.stages)
    assert 0 <= done.best_epoch < 2 and len(done.epochs) == 2


def test_the_suites_own_kernels_train_the_same_network(data: TrainingData) -> None:
    """Same images, order and head: the first steps of both agree to rounding."""
    recipe = TrainRecipe("paper", 1, 0.002, 10)
    found = {}
    for kernels in (False, True):
        network = load_network(SPARSE, 2, 1)
        if kernels:
            network = network.with_kernels(1)
        done = train_network(network, data, recipe, Execution(kernels=kernels), seed=1)
        found[kernels] = done, network.dense_state()
    ours, theirs = found[True], found[False]
    assert ours[0].facts["after_training_mask"] == theirs[0].facts["after_training_mask"]
    assert ours[0].epochs[0].loss == pytest.approx(theirs[0].epochs[0].loss, rel=1e-3)
    assert list(ours[1]) == list(theirs[1])
    for name, tensor in theirs[1].items():
        torch.testing.assert_close(ours[1][name], tensor, rtol=1e-2, atol=2e-3, msg=name)


def test_a_dense_backbone_trains_all_weights() -> None:
    network = load_network("resnet18/dense", 5, 3)
    assert network.sparse == {}
    assert network.module.get_parameter("fc.weight").shape == (5, 512)


def test_the_classifier_is_new_dense_and_fixed_by_the_seed() -> None:
    heads = [load_network(SPARSE, 4, seed).module.get_parameter("fc.weight") for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    torch.manual_seed(1)
    assert torch.equal(heads[0], torch.nn.Linear(512, 4).weight)


def test_a_batch_in_pieces_has_the_same_gradient_in_evaluation_mode(data: TrainingData) -> None:
    # Batch norm sees the pieces in training mode, so it is switched off here.
    gradients = []
    for pieces in (1, 3):
        network = load_network(SPARSE, 2, 1)
        network.module.eval()
        runner = StepRunner(
            network,
            data,
            TrainRecipe("paper", 1, 0.0, 10),
            Execution(accumulate=pieces),
            StageClock(),
        )
        images, labels = runner.some_batch()
        runner.step(images, labels, 0.0)
        gradients.append(network.module.get_parameter("layer1.0.conv1.weight").grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("images_in_batch", "pieces"), [(5, 4), (9, 4), (3, 16), (10, 5)])
def test_no_piece_of_a_batch_is_a_single_image(
    data: TrainingData, images_in_batch: int, pieces: int
) -> None:
    """Batch norm on 1x1 maps refuses it, and learns its noise elsewhere."""
    network, seen = small_network(), list[int]()
    network.module.register_forward_hook(lambda module, given, made: seen.append(len(made)))
    recipe, execution = TrainRecipe("short", 1, 0.1, images_in_batch), Execution()
    execution = replace(execution, accumulate=pieces)
    runner = StepRunner(network, data, recipe, execution, StageClock())
    images, labels = runner.some_batch()
    runner.step(images, labels, 0.0)
    assert sum(seen) == images_in_batch and min(seen) >= 2
    assert len(seen) == min(pieces, images_in_batch // 2)


def test_a_diverging_training_says_where_and_at_which_rate(data: TrainingData) -> None:
    network = load_network(SPARSE, 2, 1)
    with pytest.raises(SparsebenchError, match=r"seed 9, epoch 0, step \d+, learning rate 1e\+20"):
        train_network(network, data, TrainRecipe("paper", 2, 1e20, 5), Execution(), seed=9)


@pytest.mark.parametrize("every", [2, 50])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_losses_that_are_fetched_together_are_the_same(
    data: TrainingData, every: int, accumulate: int
) -> None:
    recipe, found = TrainRecipe("short", 2, 0.05, 6), []
    for losses_every in (1, every):
        execution = Execution(accumulate=accumulate, losses_every=losses_every)
        found.append(train_network(small_network(), data, recipe, execution, seed=4))
    assert [e.loss for e in found[1].epochs] == [e.loss for e in found[0].epochs]
    assert found[1].last == found[0].last


def test_a_loss_that_is_fetched_late_is_named_as_one_that_is_fetched_at_once(
    data: TrainingData,
) -> None:
    said = []
    for losses_every in (1, 3, 50):
        execution = Execution(losses_every=losses_every)
        with pytest.raises(SparsebenchError) as caught:
            recipe = TrainRecipe("paper", 2, 1e20, 3)
            train_network(small_network(), data, recipe, execution, seed=9)
        said.append(str(caught.value))
    assert "seed 9, epoch 0, step " in said[0] and "step 0," not in said[0]
    assert said[1:] == said[:1] * 2


class _Alike:
    """An event of a device on which every stage takes a millisecond."""

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: object) -> float:
        return 1.0


class _Queue:
    """A device that works when it is waited for, and events that it must have passed."""

    def __init__(self) -> None:
        self.ordered, self.done = 0, 0

    def event(self) -> _Mark:
        return _Mark(self)


class _Mark:
    def __init__(self, queue: _Queue) -> None:
        self.queue, self.at = queue, 0

    def record(self) -> None:
        self.queue.ordered += 1
        self.at = self.queue.ordered

    def synchronize(self) -> None:
        self.queue.done = max(self.queue.done, self.at)

    def elapsed_time(self, end: _Mark) -> float:
        assert end.at <= self.queue.done, "device not ready"
        return 1.0


@pytest.mark.parametrize("count", [15, 16, 17])
def test_stages_are_dealt_out_when_the_device_has_passed_them(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """With 17 the last batch is one image: its stage comes after the last fetched loss."""
    queue, fetch = _Queue(), LossLedger.fetch

    def fetched(self: LossLedger) -> None:
        if self._waiting:
            queue.done = queue.ordered
        fetch(self)

    monkeypatch.setattr(LossLedger, "fetch", fetched)
    monkeypatch.setattr("sparsebench.bench.training.steps.STEPS_AHEAD", 100)
    short = replace(data, train=_noise(count))
    execution, recipe = Execution(losses_every=2), TrainRecipe("short", 1, 0.05, 8)
    runner = StepRunner(small_network(), short, recipe, execution, StageClock(), event=queue.event)
    assert np.isfinite(runner.epoch(0, 1))


def _noise(count: int) -> ResizedImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 22, 22, 3)).astype(np.uint8)
    starts, shapes = np.arange(count + 1) * 22 * 22 * 3, np.full((count, 2), 22, np.int32)
    return ResizedImages(pixels.reshape(-1), starts, shapes, np.arange(count) % 2)


def test_stages_on_a_device_take_its_time_and_sum_to_the_total(data: TrainingData) -> None:
    clock = StageClock()
    execution = Execution(losses_every=3)
    recipe = TrainRecipe("short", 1, 0.05, 5)
    runner = StepRunner(small_network(), data, recipe, execution, clock, event=_Alike)
    runner.epoch(0, 1)
    clock.stop()
    dealt = {clock.seconds[name] for name in ("augment", "forward", "backward", "optimizer")}
    assert max(dealt) == pytest.approx(min(dealt)) and min(dealt) > 0
    assert sum(clock.seconds.values()) == pytest.approx(clock.total, rel=1e-9)


def test_the_calibration_leaves_the_network_as_it_was(data: TrainingData) -> None:
    network = load_network(SPARSE, 2, 1)
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    choice = fastest(network, data, TrainRecipe("short", 1, 0.1, 8), Execution())
    forms = {"contiguous", "channels-last", "channels-last products"}
    assert set(choice.seconds) | set(choice.rejected) == forms
    least = choice.processor_seconds
    assert least[name_of(choice.execution)] == min(least.values())
    assert not any(isinstance(one, SmallPlaneConv2d) for one in network.module.modules())
    after = network.module.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_fp32_is_not_shortened_while_a_training_runs() -> None:
    before = [library.allow_tf32 for library in TF32]
    assert any(before), "cuDNN shortens by default"
    with configured(Execution()):
        assert not any(library.allow_tf32 for library in TF32)
    assert [library.allow_tf32 for library in TF32] == before
