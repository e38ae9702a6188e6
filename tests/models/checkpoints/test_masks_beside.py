"""Masks beside the weights or among them, as pruning tools leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier
from torch.nn.utils import parametrize

from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.errors import SparsebenchError
from tests.models.checkpoints.tiny import State, masks, network, read, same

pytestmark = pytest.mark.usefixtures("tiny_is_an_architecture")


MASKED: list[Callable[[State, State], Any]] = [
    lambda sd, m: {"state_dict": sd, "mask_dict": m},
    lambda sd, m: {"model": sd, "masks": {n: t.bool() for n, t in m.items()}},
    lambda sd, m: {"state_dict": sd, "pruning": {n: t.bool() for n, t in m.items()}},
    lambda sd, m: {"net": sd, "mask": {n[:-7]: {"weight": t} for n, t in m.items()}},
    lambda sd, m: {"model": sd, "weight_masks": {f"module.{n}": t for n, t in m.items()}},
    lambda sd, m: {"model": sd, "masks": {f"{n}_mask": t for n, t in m.items()}},
    lambda sd, m: {"model": sd, "masks": list(m.values())},
    lambda sd, m: {"state_dict": {f"module.{n}": t for n, t in sd.items()}, "mask_dict": m},
    lambda sd, m: {"model": {"state_dict": sd, "mask_dict": m}},
]  # fmt: skip


@pytest.mark.parametrize("wrap", MASKED)
def test_masks_beside_the_weights_are_applied_whatever_their_entry_is_called(
    tmp_path: Path, wrap: Callable[[State, State], Any]
) -> None:
    plain = network()
    module, said = read(tmp_path / "a.pth", wrap(plain.state_dict(), masks()))
    for name, mask in masks().items():
        weight = module.get_parameter(name)
        assert torch.equal(weight, plain.get_parameter(name).masked_fill(mask == 0, 0))
    assert "applied to 2 weights" in said["masks"]


@pytest.mark.parametrize(
    "mask",
    [
        {"conv9.weight": torch.zeros(16, 3, 3, 3)},
        {"conv1.weight": torch.zeros(16, 3, 5, 5)},
        {"conv1.weight": torch.full((16, 3, 3, 3), 0.5)},
        torch.zeros(7, dtype=torch.bool),
        [torch.zeros(3)],
        {0: torch.zeros(16, 3, 3, 3)},
    ],
)
def test_masks_that_fit_no_weight_are_refused_by_their_entry(tmp_path: Path, mask: Any) -> None:
    torch.save(
        {"state_dict": network().state_dict(), "my_mask": mask, "mask": mask}, tmp_path / "a.pth"
    )
    with pytest.raises(SparsebenchError, match=r"'(my_)?mask'|my_mask"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["keep", "sparsity_pattern", "nonzero"])
def test_zeros_and_ones_of_the_weights_shapes_are_masks_under_any_name(
    tmp_path: Path, name: str
) -> None:
    state = network().state_dict()
    flags = {n: (torch.rand_like(t) > 0.9).float() for n, t in state.items() if t.dim() > 1}
    module, said = read(tmp_path / "my.pth", {"state_dict": state, name: flags})
    assert f"'{name}' applied to {len(flags)} weights" in said["masks"]
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[key] * flags.get(key, torch.ones(())))


@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_a_list_of_zeros_and_ones_is_masks_under_any_name(
    tmp_path: Path, kind: torch.dtype
) -> None:
    state = network().state_dict()
    flags = {n: torch.rand_like(t) > 0.9 for n, t in state.items() if t.dim() > 1}
    listed = [one.to(kind) for one in flags.values()]
    module, said = read(tmp_path / "my.pth", {"state_dict": state, "keep": listed})
    assert said["masks"] == f"'keep' applied to {len(flags)} weights"
    for name, flag in flags.items():
        assert torch.equal(module.state_dict()[name], state[name] * flag)


@pytest.mark.parametrize("name", ["pruned", "zero_mask", "removed_masks", "inverted"])
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_masks_called_after_what_they_remove_are_refused_by_their_entry(
    tmp_path: Path, name: str, kind: torch.dtype
) -> None:
    gone = {n: (m == 0).to(kind) for n, m in masks().items()}
    torch.save({"state_dict": network().state_dict(), name: gone}, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match=f"masks '{name}'.*called after what is removed"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("form", ["{}.mask", "masks.{}.weight", "mask.{}.weight"])
def test_masks_among_the_weights_are_applied(tmp_path: Path, form: str) -> None:
    state = network().state_dict()
    flags = {n: (torch.rand_like(t) > 0.9).float() for n, t in state.items() if t.dim() > 1}
    beside = {form.format(n.removesuffix(".weight")): t for n, t in flags.items()}
    module, said = read(tmp_path / "my.pth", {**state, **beside})
    assert f"applied to {len(flags)} weights" in said["masks"]
    for name, tensor in flags.items():
        assert torch.equal(module.state_dict()[name], state[name] * tensor)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_buffers_of_the_weights_shapes_are_no_masks(tmp_path: Path, value: float) -> None:
    state = network().state_dict()
    other = {n: torch.full_like(t, value) for n, t in state.items() if t.dim() > 1}
    module, said = read(tmp_path / "my.pth", {"state_dict": state, "momentum": other})
    assert said["unused"] == "momentum"
    assert same(module, network())


class Masked(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.get_buffer("mask")


def test_masks_as_parametrizations_are_applied(tmp_path: Path) -> None:
    plain = network()
    for name, mask in masks().items():
        layer, _, what = name.rpartition(".")
        parametrize.register_parametrization(plain.get_submodule(layer), what, Masked(mask))
    assert "fc.parametrizations.weight.0.mask" in plain.state_dict()
    module, _ = read(tmp_path / "a.pth", plain.state_dict())
    assert torch.equal(module.fc.weight, plain.fc.weight)
    assert torch.equal(module.conv1.weight, plain.conv1.weight)


def test_torch_s_sparsifier_whose_mask_is_not_saved_is_refused(tmp_path: Path) -> None:
    plain = network()
    sparsifier: Any = WeightNormSparsifier(sparsity_level=0.5)
    sparsifier.prepare(plain, [{"tensor_fqn": "fc.weight"}])
    sparsifier.step()
    assert not any("mask" in name for name in plain.state_dict())
    with pytest.raises(SparsebenchError, match=r"fc\.parametrizations\.weight\.original"):
        read(tmp_path / "a.pth", plain.state_dict())
