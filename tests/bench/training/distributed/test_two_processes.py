"""Two processes train what one trains, and only non-zeros travel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist

from sparsebench.bench.records import unpacked
from sparsebench.bench.training.distributed.group import Group
from tests.bench.training.distributed.member import (
    IMAGES,
    batch,
    normalised,
    sparse_network,
    trained,
)
from tests.bench.training.small import small_network

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    files = [folder / "first", folder / "second"]
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    member = [sys.executable, "-m", "tests.bench.training.distributed.member"]
    processes = [
        subprocess.Popen([*member, str(rank), str(store.port), str(file)], cwd=ROOT)
        for rank, file in enumerate(files)
    ]
    try:
        assert [process.wait(300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(file, weights_only=False) for file in files]


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_the_loss_curve_is_that_of_one_process(two: list[dict[str, Any]], kind: str) -> None:
    network = sparse_network() if kind == "sparse" else small_network()
    alone = trained(network, None)
    for one in two:
        assert one[kind]["losses"] == pytest.approx(alone["losses"], rel=1e-5)
        assert one[kind]["validation"] == alone["validation"]
        assert one[kind]["right"] == alone["right"]
        for name, value in alone["state"].items():
            torch.testing.assert_close(one[kind]["state"][name], value, rtol=1e-3, atol=1e-5)
    assert len(unpacked(alone["right"], IMAGES)) == IMAGES


@pytest.mark.parametrize("kind", ["sparse", "dense", "local", "pieces"])
def test_both_end_with_the_same_network_and_mask(two: list[dict[str, Any]], kind: str) -> None:
    first, second = (one[kind] for one in two)
    assert first["losses"] == second["losses"] and first["right"] == second["right"]
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
    if kind != "dense":
        kept = next(iter(sparse_network().sparse.values()))
        assert torch.equal(first["state"]["0.weight"] != 0, kept)


def test_batch_norm_of_each_ones_own_images_is_another_training(two: list[dict[str, Any]]) -> None:
    assert two[0]["local"]["losses"] != pytest.approx(two[0]["sparse"]["losses"], rel=1e-3)


@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_norm_is_that_of_the_whole_batch(
    two: list[dict[str, Any]], channels_last: bool
) -> None:
    """Seven images as four and three, against PyTorch's layer on all seven in float64."""
    whole, wanted = batch(channels_last)
    alone = normalised(whole.double(), wanted.double(), None)
    parts = [one["norm"][channels_last] for one in two]
    for key in ("made", "of_input"):
        both = torch.cat([part[key] for part in parts])
        torch.testing.assert_close(both.double(), alone[key], rtol=1e-4, atol=1e-4)
    for key in ("of_parameters", "running"):
        for part in parts:
            torch.testing.assert_close(part[key].double(), alone[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_travels_is_the_plain_sum_bit_for_bit(
    two: list[dict[str, Any]], channels_last: bool
) -> None:
    own = [one["gradients"][True, channels_last][0] for one in two]
    for one in two:
        _, whole, kept = one["gradients"][False, channels_last]
        _, packed, _ = one["gradients"][True, channels_last]
        assert torch.equal(whole, own[0] + own[1])
        assert torch.equal(packed[kept], whole[kept])
        assert not torch.equal(packed, whole)  # what nobody reads did not travel


def test_the_facts_count_what_is_sent(two: list[dict[str, Any]]) -> None:
    sparse, dense = (two[0][kind]["facts"]["communication"] for kind in ("sparse", "dense"))
    weights = 8 * 3 * 3 * 3 + 8 + 8 + 8 + 2 * 8 + 2  # convolution and bias, batch norm, classifier
    assert dense["gradient_bytes_per_step"] == dense["whole_gradient_bytes"] == 4 * weights
    assert sparse["gradient_bytes_per_step"] == 4 * (weights - 8 * 27 + 8 * 27 / 3)
    # Mean and variance of eight channels and the count, forwards; two sums of each, backwards.
    assert sparse["statistics_bytes_per_step"] == pytest.approx(4 * 2 * (8 + 8 + 1))
    assert sparse["processes"] == 2 and sparse["allreduce_seconds"] > 0
    assert two[0]["sparse"]["memory"] == {"peak_memory_bytes": 10}


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("count", range(1, 12))
def test_parts_make_up_the_batch_in_its_order(size: int, count: int) -> None:
    none = cast(Any, SimpleNamespace())
    groups = [Group(rank, size, "cpu", "global", none, none) for rank in range(size)]
    parts = [list(range(count))[group.part(count)] for group in groups]
    weights = sum(
        len(part) * 1 / group.computed(count) for part, group in zip(parts, groups, strict=True)
    )
    assert weights == pytest.approx(1)
    if count >= size:
        assert [place for part in parts for place in part] == list(range(count))
        assert min(map(len, parts)) == groups[0].smallest(count) >= max(map(len, parts)) - 1
    else:
        assert parts == [list(range(count))] * size
