"""The pattern 2:4, against a plain loop over groups of four inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.methods import METHODS
from sparsebench.models.names import base_method, has_pattern, split_block, with_pattern
from sparsebench.models.patterns import broken_groups, two_of_four_masks
from sparsebench.models.sparsify.produce import sparsify
from sparsebench.models.sparsify.recipes import render_recipe
from sparsebench.models.sparsify.settings import make_method
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone
from tests.models.sparsify.tiny import network, start_run, write_folder

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
SHAPES = [(6, 8), (5, 4, 3, 3), (8, 12, 1, 1)]


def two_largest(weight: Tensor) -> Tensor:
    """By a plain loop over outputs, places and groups."""
    kept = torch.zeros_like(weight, dtype=torch.bool)
    flat = weight.reshape(*weight.shape[:2], -1)
    for out in range(flat.shape[0]):
        for place in range(flat.shape[2]):
            for first in range(0, flat.shape[1], 4):
                group = flat[out, first : first + 4, place].abs()
                for at in group.argsort(descending=True)[:2].tolist():
                    kept.reshape(flat.shape)[out, first + at, place] = True
    return kept


@pytest.mark.parametrize("shape", SHAPES)
def test_the_two_largest_of_every_four_inputs_are_kept(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mask = two_of_four_masks({"w": weight})["w"]
    assert torch.equal(mask, two_largest(weight))
    assert int(mask.sum()) * 2 == weight.numel()
    assert broken_groups({"w": mask}) == 0
    assert broken_groups({"w": weight != 0}) > 0


@pytest.mark.parametrize("shape", [(64, 3, 7, 7), (32, 1, 3, 3), (10, 6)])
def test_layers_without_groups_of_four_stay_whole(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    assert bool(two_of_four_masks({"w": weight})["w"].all())


def test_a_part_of_the_way_removes_the_smallest_that_may_go_and_nothing_returns() -> None:
    generator = torch.Generator().manual_seed(1)
    weights = {f"w{n}": torch.randn(s, generator=generator) for n, s in enumerate(SHAPES)}
    may_go = torch.cat([w[~two_largest(w)].abs() for w in weights.values()])
    first, masks = dict(weights), dict[str, Tensor]()
    for share in (0.25, 0.5, 1.0):
        before = masks
        masks = two_of_four_masks(weights, share, masks)
        gone = torch.cat([w[~masks[n]].abs() for n, w in first.items()])
        assert sorted(gone.tolist()) == sorted(may_go.tolist())[: round(share * len(may_go))]
        assert all(not bool((masks[n] & ~kept).any()) for n, kept in before.items())
        weights = {n: w * masks[n] for n, w in weights.items()}


@pytest.mark.parametrize("name", [n for n in METHODS if METHODS.load(n).has_patterns])
def test_every_method_with_patterns_ends_in_one(name: str) -> None:
    torch.manual_seed(0)
    module = network(classes=8)
    run = start_run(module, total_steps=40, steps_per_epoch=5)
    method = make_method(name, 0.5, pattern="2:4")
    method.on_start(run)
    for step in range(40):
        method.before_step(run, step)
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        if method.after_backward(run, step):
            run.optimizer.step()
        method.after_step(run, step)
    assert broken_groups(method.masks) == 0
    assert broken_groups({n: w != 0 for n, w in run.weights.items()}) == 0


def test_what_has_no_pattern_says_so() -> None:
    with pytest.raises(SparsebenchError, match="does not prune in a pattern") as refused:
        make_method("gmp_uniform", 0.5, pattern="2:4")
    assert refused.value.fix == "These do: gmp, acdc."
    with pytest.raises(UnknownNameError, match="4:8"):
        make_method("gmp", 0.5, pattern="4:8")
    with pytest.raises(SparsebenchError, match=r"sparsity of 0\.9 is another network"):
        make_method("gmp", 0.9, pattern="2:4")
    with pytest.raises(SparsebenchError, match="Blocks have no pattern"):
        make_method("gmp", 0.5, 4, pattern="2:4")
    with pytest.raises(SparsebenchError, match="keeps half") as refused:
        find_card("resnet18/magnitude_2of4-90@generated")
    assert "resnet18/magnitude_2of4-50@generated" in (refused.value.fix or "")


def test_names_carry_the_pattern() -> None:
    assert with_pattern("gmp", "2:4") == "gmp_2of4" and with_pattern("gmp", "") == "gmp"
    assert has_pattern("gmp_2of4") and not has_pattern("gmp")
    assert base_method("gmp_2of4") == base_method("gmp_block4") == "gmp"
    assert split_block("gmp_2of4") == ("gmp_2of4", 1)


def test_one_shot_pruning_to_the_pattern_has_a_name() -> None:
    card = find_card("resnet18/magnitude_2of4-50")
    assert card.family == "one-shot" and "2:4" in card.notes
    mask = load_backbone("resnet18/magnitude_2of4-50").mask
    assert broken_groups(mask) == 0
    # All but the first convolution (64 x 3 x 7 x 7) lose exactly half.
    total = sum(kept.numel() for kept in mask.values())
    assert sum(int((~kept).sum()) for kept in mask.values()) * 2 == total - 64 * 3 * 7 * 7


def test_a_training_writes_the_pattern_and_its_name(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    out = tmp_path / "out.safetensors"
    made = sparsify(
        "tiny", "acdc", 0.5, data, 3, out, size=8, pattern="2:4", recipe={"batch_size": 8},
    )  # fmt: skip
    backbone = load_backbone(str(made.path))
    card = find_card(str(made.path))
    assert (card.method, card.family) == ("acdc_2of4", "regularization")
    assert broken_groups(backbone.mask) == 0 and 0.4 < made.sparsity <= 0.5
    assert made.sparsity == pytest.approx(sparsity(mask_of(backbone.module)))


def test_a_printed_plan_says_the_pattern() -> None:
    settings = {"arch": "tiny", "method": "gmp", "sparsity": 0.5, "pattern": "2:4"}
    text = render_recipe(settings, {}, {})
    assert 'pattern = "2:4"' in text and "Modifier\n" not in text
