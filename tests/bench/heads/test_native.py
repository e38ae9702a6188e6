"""The kernel for heads: any instruction set, any number of threads, and where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsebench.bench.heads import LinearHeads, LinearRecipe, native, train_sgd
from sparsebench.bench.heads import kernel as kernels
from sparsebench.bench.heads.fit import torch_threads
from sparsebench.bench.heads.kernel import find_kernel
from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.models.errors import SparsebenchError
from tests.bench.heads.test_sgd import blobs, plain_loop

compiled = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
RECIPE = LinearRecipe(epochs=6, batch_size=24, lr=0.05, milestones=(4,), seeds=(3, 5, 7))


@pytest.fixture
def forgotten() -> Iterator[None]:
    """No kernel of an earlier test is remembered, none of this one later."""
    kernels._find.cache_clear()
    yield
    kernels._find.cache_clear()


def train(threads: int = 1, classes: int = 13, recipe: LinearRecipe = RECIPE) -> LinearHeads:
    """Heads on 130 images, by the kernel."""
    features, labels = blobs(130, 90, classes)
    with torch_threads(threads):
        return train_sgd(features, labels, classes, recipe, execution="native")


@compiled
@pytest.mark.parametrize("isa", supported_isas())
def test_every_instruction_set_gives_what_the_plain_loop_gives(
    isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", isa)
    heads = train()
    assert heads.trained_by == f"native-{isa}"
    features, labels = blobs(130, 90, 13)
    for index, seed in enumerate(RECIPE.seeds):
        head, losses = plain_loop(features, labels, 13, RECIPE, seed)
        assert np.abs(heads.weights[index] - head.weight.detach().numpy()).max() < 2e-5
        assert np.abs(heads.bias[index] - head.bias.detach().numpy()).max() < 2e-5
        assert heads.losses[:, index] == pytest.approx(losses, rel=1e-4)


@compiled
@pytest.mark.parametrize("threads", [2, 3, 5])
@pytest.mark.parametrize("long_step", [0, 10**12])
def test_threads_change_no_bit(
    threads: int, long_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads share the heads, or (every step counts as a long one) the classes."""
    monkeypatch.setattr(native, "_LONG_STEP", long_step)
    for seeds in ((3,), (3, 5, 7)):
        recipe = LinearRecipe(epochs=6, batch_size=24, lr=0.05, seeds=seeds)
        one, many = train(1, recipe=recipe), train(threads, recipe=recipe)
        assert np.array_equal(one.weights, many.weights)
        assert np.array_equal(one.bias, many.bias)
        assert np.array_equal(one.losses, many.losses)


@compiled
def test_epochs_one_by_one_and_few_at_once_are_those_of_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = train()
    features, labels = blobs(130, 90, 13)
    looked = train_sgd(
        features, labels, 13, RECIPE, on_epoch=lambda epoch, heads: None, execution="native"
    )
    monkeypatch.setattr(native, "_AHEAD", 130 * 3 * 8 * 4)
    four = train()
    for other in (looked, four):
        assert np.array_equal(at_once.weights, other.weights)
        assert np.array_equal(at_once.losses, other.losses)


@compiled
def test_both_ways_tell_the_same_divergence() -> None:
    features, labels = blobs()
    recipe = LinearRecipe(epochs=200, lr=1e30, seeds=(21, 51))
    told = []
    for execution in ("native", "torch"):
        with pytest.raises(SparsebenchError, match="diverged") as error:
            train_sgd(features, labels, 4, recipe, execution=execution)
        told.append(str(error.value))
    assert told[0] == told[1]


@compiled
def test_a_probability_that_underflows_costs_as_much_as_the_smallest_float() -> None:
    """One step at a huge rate makes the head sure of what is wrong in the next epoch."""
    features = np.eye(2, 16, dtype=np.float32)[[0, 0, 1, 1]] * 100
    labels = np.array([0, 1, 0, 1])
    recipe = LinearRecipe(epochs=2, batch_size=1, lr=10.0, weight_decay=0.0, seeds=(1,))
    found = {
        execution: train_sgd(features, labels, 2, recipe, execution=execution)
        for execution in ("native", "torch")
    }
    worst = -math.log(torch.finfo(torch.float32).tiny)
    # Of the four images two at least have just been pushed to the other class.
    assert found["native"].losses[1, 0] >= worst / 2 * 0.99
    assert found["native"].losses == pytest.approx(found["torch"].losses, rel=1e-6)


def test_without_a_compiler_pytorch_trains_and_the_reason_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: None
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))  # nor was it compiled before
    monkeypatch.setattr(
        "sparsebench.exporters.kernels.compiled.build.supported_isas", lambda: ("avx2", "portable")
    )
    features, labels = blobs()
    assert train_sgd(features, labels, 4, LinearRecipe(epochs=1)).trained_by == "torch"
    assert "none is on the PATH" in find_kernel().reason
    with pytest.raises(SparsebenchError, match="none is on the PATH"):
        train_sgd(features, labels, 4, LinearRecipe(), execution="native")


def test_without_wide_vectors_pytorch_trains(
    monkeypatch: pytest.MonkeyPatch, forgotten: None
) -> None:
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", "portable")
    features, labels = blobs()
    assert train_sgd(features, labels, 4, LinearRecipe(epochs=1)).trained_by == "torch"
    assert "AVX2" in find_kernel().reason
