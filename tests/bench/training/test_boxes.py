"""Whole detectors are trained: boxes follow their images, masks stay, engines agree."""

from __future__ import annotations

import base64
import copy
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.images import Placement, placed_batches, placed_boxes
from sparsebench.bench.images.decode import decoded_batches
from sparsebench.bench.images.letterbox import JITTER, random_placements
from sparsebench.bench.records import Outcomes
from sparsebench.bench.tasks import open_task
from sparsebench.bench.training.boxes import BoxedImages, BoxObjective, BoxTargets, of_boxes
from sparsebench.bench.training.calibrate import fastest
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.feed import evaluation_batches
from sparsebench.bench.training.loop import train_network
from sparsebench.bench.training.online import train_online
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.bench.training.source import TrainingData, decode_task
from sparsebench.bench.training.steps import StepRunner
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.onnx.detector import own_mask
from sparsebench.models.cards import Letterbox, Preprocessing
from sparsebench.models.detection.head import Detector, Rows
from sparsebench.models.detection.maps import STRIDES, feature_maps, map_channels
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash
from sparsebench.models.zoo.load import load_backbone
from tests.bench.tasks.detection import sets

pytest.importorskip("faster_coco_eval")
SPARSE, SIZE = "resnet18/gmp_uniform-90", 64
CARD = Letterbox.of(Preprocessing(SIZE, SIZE, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    root = sets.write_coco(tmp_path_factory.mktemp("boxes") / "squares", train=10, test=4)
    task = open_task(str(root))
    objective = of_boxes(task, CARD)
    return decode_task(task, CARD, 0.2, threads=1, clock=StageClock(), objective=objective)


def objective_of(data: TrainingData) -> BoxObjective:
    assert isinstance(data.objective, BoxObjective)
    return data.objective


def test_the_evaluation_sees_what_inference_sees(data: TrainingData) -> None:
    """Images that are kept decoded give the pixels that are decoded from the file."""
    (_, expected), *_ = decoded_batches(objective_of(data).task, "test", CARD, 4, workers=1)
    (_, found), *_ = evaluation_batches(data.test, CARD, 4, Execution())
    assert np.array_equal(found.numpy(), expected)


def test_boxes_follow_their_images(data: TrainingData) -> None:
    """Where a box says that a dark or a light square is, there it is, and grey around it."""
    source = data.train
    assert isinstance(source, BoxedImages)
    seen, turned = 0, set()
    for epoch in range(3):
        for indices, images, placements in placed_batches(source, CARD, 4, seed=1, epoch=epoch):
            boxes = [source.boxes[i] for i in indices]
            targets = objective_of(data).targets(boxes, placements)
            turned |= {one.mirrored for one in placements}
            for pixels, corners, labels in zip(
                images, targets.corners, targets.labels, strict=True
            ):
                assert (corners >= 0).all() and (corners <= SIZE).all()
                for box, label in zip(corners, labels, strict=True):
                    x1, y1, x2, y2 = box.round().astype(int)
                    inner = pixels[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
                    # Grey is 128, the squares 20 and 230: on the network's scale -1.7 and 1.6.
                    if inner.size:
                        assert (inner < -1).mean() > 0.9 if label == 0 else (inner > 1).mean() > 0.9
                        seen += 1
    assert seen > 20
    assert turned == {True, False}


def test_a_placement_moves_boxes_as_its_arithmetic_says() -> None:
    box = np.array([[10, 20, 30, 40]], np.float32)
    # Of an image of 100 x 50, made half as large and mirrored: 5..15 becomes 50-15..50-5.
    moved, kept = placed_boxes(box, (100, 50), Placement(4, -6, 50, 25, mirrored=True), 64, 0.3)
    assert moved.tolist() == [[39, 4, 49, 14]] and kept.tolist() == [True]
    # A quarter of it left in the input: nobody is taught that.
    _, kept = placed_boxes(box, (100, 50), Placement(-25, 0, 100, 50), 64, 0.3)
    assert kept.tolist() == [False]
    _, kept = placed_boxes(np.empty((0, 4), np.float32), (9, 9), Placement(0, 0, 9, 9), 64, 0.3)
    assert kept.tolist() == []


def test_placements_stay_in_their_bounds_and_reach_both_ends() -> None:
    shapes = np.array([[48, 64]] * 400, np.int32)
    drawn = random_placements(shapes, SIZE, np.random.default_rng(0))
    factors = [one.width / 64 for one in drawn]
    assert 1 / JITTER - 0.01 <= min(factors) < 0.72 and 1.4 < max(factors) <= JITTER + 0.01
    for one in drawn:
        for start, side in ((one.left, one.width), (one.top, one.height)):
            assert min(0, SIZE - side) <= start <= max(0, SIZE - side)
    assert 0.4 < np.mean([one.mirrored for one in drawn]) < 0.6


def test_targets_are_cut_as_tensors_are() -> None:
    targets = BoxTargets(
        [np.full((i, 4), i, np.float32) for i in range(5)], [np.arange(i) for i in range(5)]
    )
    for pieces in (1, 2, 3):
        for part, expected in zip(
            targets.tensor_split(pieces), torch.arange(5).tensor_split(pieces), strict=True
        ):
            assert [len(one) for one in part.labels] == expected.tolist()
    assert len(targets[:2].corners) == 2


def test_a_training_keeps_the_mask_and_tells_what_it_found(data: TrainingData) -> None:
    objective = objective_of(data)
    network = objective.network(SPARSE, 1, device="cpu")
    before = {n: p.detach().clone() for n, p in network.module.named_parameters()}
    done = train_network(network, data, TrainRecipe("short", 2, 0.02, 4), Execution(), seed=1)
    backbone = load_backbone(SPARSE)
    expected = mask_hash(own_mask(backbone.mask, network.module, backbone.card.arch))  # type: ignore[arg-type]
    assert done.facts["after_training_mask"] == expected
    assert network.revived() == 0
    for name, parameter in network.module.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    kept = Outcomes.from_bytes(base64.b64decode(done.outcomes))
    assert kept.interval("map50").mid == pytest.approx(done.last, abs=1e-6)
    assert done.scores["detection"]["map50"] == done.last and done.right == ""


@pytest.mark.parametrize(
    ("how", "apart"), [(Execution(kernels=True), 1e-3), (Execution(precision="bf16"), 0.05)]
)
def test_other_executions_train_the_same_detector(
    data: TrainingData, how: Execution, apart: float
) -> None:
    """Same images, order and head: the first steps agree to rounding."""
    if how.kernels and find_compiler() is None:
        pytest.skip("no C++ compiler")
    recipe, losses = TrainRecipe("paper", 1, 0.002, 4), []
    for execution in (Execution(), how):
        network = objective_of(data).network(SPARSE, 1, device="cpu")
        if execution.kernels:
            network = network.with_kernels(1)
        runner = StepRunner(network, data, recipe, execution, StageClock())
        losses.append(runner.epoch(0, seed=1))
        assert network.revived() == 0
    assert losses[1] == pytest.approx(losses[0], rel=apart)


def test_a_detector_from_the_start_is_trained_on_its_own_grids(data: TrainingData) -> None:
    """YOLOv5 has three grids and a formula of its own; its last layers are new and dense."""
    task, name = objective_of(data).task, "yolov5n/uniform-90@generated"
    objective = of_boxes(task, CARD)
    network = objective.network(name, 1, device="cpu")
    assert objective.strides == (8, 16, 32)
    assert torch.equal(network.module.get_buffer("head.anchors"), objective.anchors)
    boxed = replace(data, objective=objective)
    runner = StepRunner(
        network, boxed, TrainRecipe("paper", 1, 0.002, 4), Execution(), StageClock()
    )
    assert np.isfinite(runner.epoch(0, seed=1))
    assert network.masked and network.revived() == 0
    assert 0 <= runner.accuracy(boxed.validation) <= 1
    backbone = load_backbone(name)
    expected = own_mask(backbone.mask, objective.network(name, 1, device="cpu").module, "yolov5n")  # type: ignore[arg-type]
    assert network.backbone_mask_hash() == mask_hash(expected)


def test_pieces_of_a_batch_and_memory_formats_are_tried_out(data: TrainingData) -> None:
    network = objective_of(data).network(SPARSE, 1, device="cpu")
    recipe = TrainRecipe("short", 1, 0.02, 4)
    found = fastest(network, data, recipe, Execution(accumulate=2))
    assert (
        set(found.seconds)
        == {
            "contiguous",
            "channels-last",
            "channels-last products",
        }
        and not found.rejected
    )


class Maps:
    """An engine without one: the maps of a network of PyTorch's."""

    batch_size = 4
    input_shape = (3, SIZE, SIZE)

    def __init__(self, module: torch.nn.Module, width: int) -> None:
        self.module, self.feature_dim = module, width
        self.waiting: deque[NDArray[np.float32]] = deque()

    def submit(self, images: NDArray[np.float32]) -> None:
        with torch.inference_mode():
            self.waiting.append(self.module(torch.from_numpy(images)).numpy())

    def collect(self) -> tuple[NDArray[np.float32], float]:
        return self.waiting.popleft(), 0.001


def test_a_head_is_trained_online_as_the_same_sgd_would(data: TrainingData) -> None:
    """On a frozen backbone the same batches in the same order give the weights of a plain loop."""
    objective, recipe = objective_of(data), TrainRecipe("short", 2, 0.02, 4, nesterov=True)
    backbone = load_backbone(SPARSE)
    network = Detector(feature_maps(backbone.module, SIZE, SPARSE)).eval()
    channels = map_channels(network.maps, SIZE)
    facts = {"arch": "resnet18", "channels": list(channels)}
    width = sum(c * (SIZE // s) ** 2 for c, s in zip(channels, STRIDES, strict=True))
    head = objective.online_head(width, facts, recipe, seed=3)
    plain = copy.deepcopy(head.module).train()
    clock = StageClock()
    done = train_online(Maps(network, width), data, recipe, head, seed=3, threads=1, clock=clock)
    assert done.outcomes and 0 <= done.last <= 1

    optimizer = torch.optim.SGD(
        plain.parameters(), 0.02, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    losses = []
    for epoch in range(2):
        batches = objective.batches(data, 4, Execution(), seed=3, epoch=epoch)
        for step, (_, images, targets) in enumerate(batches):
            optimizer.param_groups[0]["lr"] = recipe.rate(epoch, step / 2)
            with torch.no_grad():
                maps = network.maps(images)
            loss = objective.loss(Rows()(plain(maps)), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()) * len(images))
    size = len(data.train)
    assert done.epochs[0].loss == pytest.approx(sum(losses[:2]) / size, rel=1e-4)
    assert done.epochs[1].loss == pytest.approx(sum(losses[2:]) / size, rel=1e-3)


def test_a_file_that_finds_boxes_has_no_head_to_train(data: TrainingData) -> None:
    with pytest.raises(SparsebenchError, match="finds boxes itself.*linear-cached"):
        objective_of(data).online_head(9, {"cut": "output"}, TrainRecipe("short", 1, 0.1), 0)
