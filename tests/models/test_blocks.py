"""Pruning in blocks, against a plain loop over the blocks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.blocks import block_scores, broken_blocks, keep_largest_blocks
from sparsebench.models.checkpoints.compact import load_compact
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.methods import METHODS
from sparsebench.models.names import BackboneName, split_block, with_block
from sparsebench.models.sparsify.rigl import RigLKernel, drop_and_grow, drop_share
from sparsebench.models.sparsify.settings import make_method
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone
from sparsebench.results.scripts.ship import ship
from tests.models.sparsify.tiny import network, run_plan, start_run, write_folder

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 11), st.integers(1, 3), st.integers(1, 2))


def blocks_of(weight: Tensor, block: int) -> list[tuple[float, list[tuple[int, ...]]]]:
    """Score and places of each block, by a plain loop."""
    outputs, inputs, *kernel = weight.shape
    found = []
    for start in range(0, inputs, block):
        channels = range(start, min(start + block, inputs))
        for out in range(outputs):
            for place in itertools.product(*(range(side) for side in kernel)):
                places = [(out, channel, *place) for channel in channels]
                squares = [float(weight[at]) ** 2 for at in places]
                found.append((float(np.sqrt(np.mean(squares))), places))
    return found


@given(SHAPES, st.sampled_from([2, 4]), st.floats(0, 1), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_the_largest_blocks_are_kept_whole(
    shape: tuple[int, ...], block: int, share: float, seed: int
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    wanted = round(share * weight.numel())
    mask = keep_largest_blocks({"w": weight.abs()}, wanted, block)["w"]
    assert broken_blocks({"w": mask}, block) == 0
    assert wanted - block < int(mask.sum()) <= wanted
    left = wanted
    for _, places in sorted(blocks_of(weight, block), key=lambda one: -one[0]):
        if len(places) > left:
            break
        assert all(bool(mask[at]) for at in places)
        left -= len(places)


def test_a_short_last_block_is_ranked_by_its_own_mean() -> None:
    weight = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.5]])  # blocks of four and of one
    assert block_scores(weight, 4).tolist() == [[1.0, 1.5]]
    assert keep_largest_blocks({"w": weight}, 1, 4)["w"].tolist() == [[False] * 4 + [True]]


def test_a_mask_of_single_weights_is_seen_to_break_blocks() -> None:
    mask = torch.tensor([[True, True, True, True, True, False, True, True, False]])
    assert broken_blocks({"w": mask}, 4) == 1
    assert broken_blocks({"w": mask}, 1) == 0


@pytest.mark.parametrize("name", [n for n in METHODS if METHODS.load(n).has_blocks])
def test_every_method_with_blocks_ends_in_whole_blocks(name: str) -> None:
    torch.manual_seed(0)
    module = network(classes=8)
    run = start_run(module, total_steps=40, steps_per_epoch=5)
    method = make_method(name, 0.75, 4)
    method.on_start(run)
    for step in range(40):
        method.before_step(run, step)
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        if method.after_backward(run, step):
            run.optimizer.step()
        method.after_step(run, step)
        assert broken_blocks(method.masks, 4) == 0
    mask = mask_of(module)
    assert broken_blocks(mask, 4) == 0
    assert sparsity(mask) == pytest.approx(0.75, abs=0.01)


def test_rigl_moves_blocks_by_their_norms_and_keeps_their_number() -> None:
    weight = torch.tensor([[5.0, 5.0, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, True, False, False, False, False]])
    gradient = torch.tensor([[0.0, 0.0, 0.0, 0.0, 3.0, 3.0, 9.0, 0.0]])  # norms 4.2 and 9
    after = drop_and_grow(weight, gradient, mask, 0.5, 2)
    assert after.tolist() == [[True, True, False, False, False, False, True, True]]
    method = make_method("rigl", 0.5, 4)
    assert isinstance(method, RigLKernel)
    run = start_run(network(), 320, 10)
    method.on_start(run)
    counts = {n: int(m.sum()) for n, m in method.masks.items()}
    change = next(t for t in range(1, 320) if drop_share(t, 320) is not None)
    for parameter in run.module.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert not method.after_backward(run, change)
    assert {n: int(m.sum()) for n, m in method.masks.items()} == counts


@pytest.mark.parametrize("name", ["str", "woodfisher", "structured"])
def test_a_method_without_blocks_refuses_them_and_names_those_that_have(name: str) -> None:
    with pytest.raises(SparsebenchError, match="does not prune in blocks") as refused:
        make_method(name, 0.9, 4)
    assert "gmp_uniform" in (refused.value.fix or "")
    with pytest.raises(SparsebenchError, match="Blocks of 0"):
        make_method("gmp", 0.9, 0)


def test_a_plan_in_blocks_is_written_named_and_shipped(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'arch = "tiny"\nmethod = "acdc"\nsparsity = 0.75\nblock = 4\nepochs = 3\nsize = 8\n'
        "[recipe]\nbatch_size = 8\n"
    )
    data = write_folder(tmp_path / "data")
    made = run_plan(plan, data, tmp_path / "out.safetensors", tmp_path / "cache")
    assert load_compact(made.path)[1]["method"] == "acdc_block4"
    assert find_card(str(made.path)).family == "regularization"
    assert broken_blocks(load_backbone(str(made.path)).mask, 4) == 0
    card = ship(made.path, "research use", folder=tmp_path / "zoo")
    assert (card.name, card.family) == ("tiny/acdc_block4-75", "regularization")


@pytest.mark.parametrize("method", ["magnitude_block4", "magnitude_uniform_block4"])
def test_one_shot_pruning_in_blocks_has_a_name(method: str) -> None:
    backbone = load_backbone(f"resnet18/{method}-90")
    assert backbone.card.family == "one-shot"
    assert "4 input channels together" in backbone.card.notes
    assert broken_blocks(backbone.mask, 4) == 0
    assert backbone.measured_sparsity == pytest.approx(0.9, abs=1e-4)


def test_names_of_methods_in_blocks() -> None:
    assert split_block("gmp_uniform_block4") == ("gmp_uniform", 4)
    assert split_block("gmp_uniform") == ("gmp_uniform", 1)
    assert with_block("gmp", 4) == "gmp_block4"
    assert with_block("gmp", 1) == "gmp"
    name = BackboneName.parse("resnet18/gmp_block4-90")
    assert (name.method, name.sparsity) == ("gmp_block4", 0.9)
