from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.sparsify.method import Recipe, Run
from sparsebench.models.sparsify.resume import Progress
from sparsebench.models.sparsify.str import (
    FIRST_THRESHOLD,
    SETTLES,
    SoftThreshold,
    common_shift,
    soft_threshold,
)
from sparsebench.models.sparsify.train import Execution, train
from tests.models.sparsify.tiny import network, random_images, start_run, weights_of


def test_small_weights_become_zero_and_others_lose_the_threshold() -> None:
    weight = torch.tensor([-0.9, -0.5, -0.1, 0.0, 0.3, 0.8])
    s = torch.tensor(0.0)  # sigmoid(0) = 0.5
    assert torch.allclose(soft_threshold(weight, s), torch.tensor([-0.4, 0, 0, 0, 0, 0.3]))


def loss_of(run: Run, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = run.module(images)
    return nn.functional.cross_entropy(logits, labels)


def test_gradients_of_thresholds_and_weights_are_finite_differences() -> None:
    torch.manual_seed(0)
    module = network().double()
    run = start_run(module, 1000, 10)
    method = SoftThreshold(0.9)
    method.prepare(run)
    for threshold in method.thresholds.values():
        threshold.data = torch.tensor(-3.0, dtype=torch.float64)
    images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])

    method.before_step(run, 1)
    torch.autograd.backward(loss_of(run, images, labels))
    raw = {n: w.detach().clone() for n, w in method._raw.items()}
    assert method.after_backward(run, 1)
    assert all(torch.equal(run.weights[n], raw[n]) for n in raw)  # the raw ones are trained

    def loss_at(name: str, threshold_step: float, weight_step: float, index: int) -> float:
        with torch.no_grad():
            for n, weight in run.weights.items():
                s = method.thresholds[n] + (threshold_step if n == name else 0.0)
                value = raw[n].clone()
                if n == name:
                    value.view(-1)[index] += weight_step
                weight.copy_(torch.sign(value) * torch.relu(value.abs() - torch.sigmoid(s)))
            return float(loss_of(run, images, labels))

    step = 1e-6
    for name, threshold in method.thresholds.items():
        slope = (loss_at(name, step, 0, 0) - loss_at(name, -step, 0, 0)) / (2 * step)
        assert threshold.grad is not None
        assert float(threshold.grad) == pytest.approx(slope, rel=1e-4, abs=1e-9)
        assert slope != 0
        gradient = run.weights[name].grad
        assert gradient is not None
        for index in (0, 7, 20):
            slope = (loss_at(name, 0, step, index) - loss_at(name, 0, -step, index)) / (2 * step)
            assert float(gradient.view(-1)[index]) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_common_shift_reaches_a_sparsity_in_closed_form() -> None:
    weights = {"a": torch.arange(1, 101) / 200.0, "b": torch.arange(1, 101) / 400.0}
    thresholds = {"a": torch.tensor(-4.0), "b": torch.tensor(-4.0)}
    shift = common_shift(weights, thresholds, 0.6)
    threshold = 1 / (1 + math.exp(4.0 - shift))
    zeros = sum(int((w <= threshold + 1e-6).sum()) for w in weights.values())
    assert zeros == 120


def wider() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 2),
    )


def trained(level: float, epochs: int) -> tuple[nn.Module, SoftThreshold, list[Progress]]:
    torch.manual_seed(0)
    module = wider()
    method = SoftThreshold(level)
    reports: list[Progress] = []
    recipe = Recipe(batch_size=16, learning_rate=0.1)
    execution = Execution(precision="fp32", report_steps=1)
    train(
        module,
        weights_of(module),
        random_images(160),
        method,
        recipe,
        epochs,
        execution=execution,
        progress=reports.append,
    )
    return module, method, reports


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_search_reaches_the_sparsity_by_learning_and_the_file_gets_it_exactly(
    level: float,
) -> None:
    module, method, reports = trained(level, 30)
    reached = float(method.facts()["str_reached"])
    assert reached == pytest.approx(level, abs=0.01)  # before anything is set by hand
    assert reports[-1].accuracy > 0.9
    total = sum(w.numel() for w in weights_of(module).values())
    assert abs(sparsity(mask_of(module)) - level) <= 2 / total
    settled = [r.sparsity for r in reports if r.step > SETTLES * reports[-1].total_steps]
    assert len(set(settled)) == 1  # the mask stays
    values = [float(s.detach()) for s in method.thresholds.values()]
    assert min(values) > FIRST_THRESHOLD + 2
    assert max(values) - min(values) > 0.01  # every layer has one of its own


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_training_too_short_for_the_search_still_ends_exact(epochs: int) -> None:
    module, method, _ = trained(0.9, epochs)
    assert sparsity(mask_of(module)) == pytest.approx(0.9, abs=0.001)
    assert "str_reached" in method.facts()
