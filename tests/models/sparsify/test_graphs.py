"""Trainings that replay their network; the graph itself is a stand-in (a GPU has its own test)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsebench.models import cuda_graphs
from sparsebench.models.cuda_graphs import Forward
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.method import Recipe
from sparsebench.models.sparsify.train import Execution, train
from tests.models.sparsify.tiny import network, random_images, weights_of

SIDES = ((0.0, 6), (0.5, 8))


def trained(name: str, graphs: bool) -> nn.Module:
    torch.manual_seed(3)
    module = network()
    train(
        module,
        weights_of(module),
        random_images(),
        METHODS.load(name)(0.0 if name == "dense" else 0.8),
        Recipe(batch_size=8, learning_rate=0.05, sides=SIDES),
        8,
        seed=5,
        execution=Execution(precision="fp32", graphs=graphs),
    )
    return module


@pytest.mark.parametrize("name", METHODS.names())
def test_what_is_replayed_trains_as_what_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight and statistic bit for bit, though a capture warms up with other values."""
    captured: list[torch.Size] = []

    def capture(module: nn.Module, images: Tensor) -> Forward:
        captured.append(images.shape)
        for _ in range(3):
            module(images)

        def replay(batch: Tensor) -> Tensor:
            images.copy_(batch)
            logits: Tensor = module(images)
            return logits

        return replay

    monkeypatch.setattr(cuda_graphs, "captured_on_gpu", capture)
    plain, replayed = trained(name, False).state_dict(), trained(name, True).state_dict()
    assert captured == [torch.Size([8, 3, side, side]) for _, side in SIDES]
    for key, value in plain.items():
        assert torch.equal(value, replayed[key]), key


def test_what_cannot_be_captured_is_trained_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(module: nn.Module, images: Tensor) -> Forward:
        raise RuntimeError("no room for a graph")

    monkeypatch.setattr(cuda_graphs, "captured_on_gpu", refuse)
    plain, without = trained("gmp", False).state_dict(), trained("gmp", True).state_dict()
    assert all(torch.equal(value, without[key]) for key, value in plain.items())
    assert "no room for a graph" in caplog.text


def test_graphs_are_for_a_gpu_that_compiles_nothing() -> None:
    assert Execution("cuda").replays
    assert not Execution("cuda", compile=True).replays and not Execution().replays
    assert not Execution("cuda", graphs=False).replays
