import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import (
    Mask,
    apply_mask,
    freeze_mask,
    mask_hash,
    mask_of,
    mask_of_arrays,
    sparsity,
)


def small_network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)
    )


shapes = st.lists(st.integers(0, 5), min_size=1, max_size=4)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
    mask = {}
    for name in names:
        shape = draw(shapes)
        count = int(np.prod(shape))
        flags = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        mask[name] = torch.tensor(flags, dtype=torch.bool).reshape(shape)
    return freeze_mask(mask)


def test_a_mask_covers_convolutions_and_linear_layers_only() -> None:
    network = small_network()
    assert list(mask_of(network)) == ["0.weight", "4.weight"]
    assert mask_of(network)["0.weight"].shape == network[0].weight.shape


def test_a_mask_shows_the_non_zeros_minus_zero_and_nan_included() -> None:
    network: Any = nn.Sequential(nn.Linear(4, 1))
    network[0].weight.data = torch.tensor([[0.0, -0.0, float("nan"), 1e-40]])
    assert mask_of(network)["0.weight"].tolist() == [[False, False, True, True]]


def test_a_mask_cannot_be_changed() -> None:
    mask = mask_of(small_network())
    with pytest.raises(TypeError):
        mask["0.weight"] = torch.ones(1, dtype=torch.bool)  # type: ignore[index]


@given(masks())
@settings(max_examples=40, deadline=None)
def test_the_hash_depends_on_names_shapes_and_flags_and_on_nothing_else(mask: Mask) -> None:
    shuffled = freeze_mask({n: mask[n].clone() for n in reversed(list(mask))})
    assert mask_hash(shuffled) == mask_hash(mask)
    for name, kept in mask.items():
        assert mask_hash({**mask, name: kept.unsqueeze(0)}) != mask_hash(mask)
        renamed = {("x" + n if n == name else n): k for n, k in mask.items()}
        if len(renamed) == len(mask):
            assert mask_hash(renamed) != mask_hash(mask)
        if kept.numel():
            flipped = kept.clone()
            flipped.view(-1)[-1] ^= True
            assert mask_hash({**mask, name: flipped}) != mask_hash(mask)


def test_the_hash_follows_its_written_description() -> None:
    mask = {"b": torch.tensor([[True], [False]]), "a": torch.tensor([True] * 9)}
    by_hand = (
        b"sparsebench mask 1\n"
        b"a\x009\x00" + bytes([0b11111111, 0b10000000]) + b"b\x002,1\x00" + bytes([0b10000000])
    )
    assert mask_hash(mask) == hashlib.sha256(by_hand).hexdigest()


def test_the_hash_is_the_same_in_another_process() -> None:
    program = (
        "import torch; from sparsebench.models.masks import mask_hash;"
        "print(mask_hash({'w': torch.arange(70).reshape(7, 10) % 3 == 0}))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    here = mask_hash({"w": torch.arange(70).reshape(7, 10) % 3 == 0})
    assert elsewhere.stdout.strip() == here


def test_the_hash_does_not_depend_on_memory_layout() -> None:
    kept = torch.rand(4, 3, 5, 5) > 0.5
    assert mask_hash({"w": kept.to(memory_format=torch.channels_last)}) == mask_hash({"w": kept})


@given(masks())
@settings(max_examples=40, deadline=None)
def test_sparsity_is_the_weighted_mean_of_the_layers(mask: Mask) -> None:
    layers = {name: sparsity({name: kept}) for name, kept in mask.items()}
    total = sum(k.numel() for k in mask.values())
    zeros = sum(layers[n] * k.numel() for n, k in mask.items())
    assert all(0 <= s <= 1 for s in layers.values())
    assert sparsity(mask) == pytest.approx(zeros / total if total else 0)


@given(st.floats(0, 1), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_applying_a_mask_makes_it_the_network_s_mask(density: float, seed: int) -> None:
    network = small_network()
    torch.manual_seed(seed)
    wanted = freeze_mask({n: torch.rand(k.shape) < density for n, k in mask_of(network).items()})
    before = {n: p.clone() for n, p in network.named_parameters()}
    apply_mask(network, wanted)
    assert mask_hash(mask_of(network)) == mask_hash(wanted)
    for name, parameter in network.named_parameters():
        kept = wanted.get(name, torch.tensor(True))
        assert torch.equal(parameter, torch.where(kept, before[name], 0.0))
    apply_mask(network, wanted)
    assert mask_hash(mask_of(network)) == mask_hash(wanted)


def test_a_pruned_nan_becomes_zero() -> None:
    network: Any = nn.Sequential(nn.Linear(2, 1))
    network[0].weight.data = torch.tensor([[float("nan"), 1.0]])
    apply_mask(network, {"0.weight": torch.tensor([[False, True]])})
    assert network[0].weight.tolist() == [[0.0, 1.0]]


def test_a_mask_of_another_network_is_refused_and_changes_nothing() -> None:
    network = small_network()
    before = network[0].weight.clone()
    pruned = torch.zeros_like(before, dtype=torch.bool)
    with pytest.raises(SparsebenchError, match=r"fc\.weight"):
        apply_mask(network, {"0.weight": pruned, "fc.weight": pruned})
    with pytest.raises(SparsebenchError, match="shape"):
        apply_mask(network, {"0.weight": pruned, "4.weight": pruned})
    assert torch.equal(network[0].weight, before)


def test_masks_of_arrays_and_of_the_network_agree() -> None:
    network = small_network()
    network[0].weight.data[0] = 0
    arrays = {n: p.detach().numpy() for n, p in network.named_parameters()}
    names = ["0.weight", "4.weight"]
    assert mask_hash(mask_of_arrays(arrays, names)) == mask_hash(mask_of(network))
