"""Names that wrappers, tools and frameworks make of a network's tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.fit import build_from, matching_architectures
from sparsebench.models.errors import SparsebenchError
from tests.models.checkpoints.tiny import State, masks, network, read, same

pytestmark = pytest.mark.usefixtures("tiny_is_an_architecture")


def _thop(sd: State) -> State:
    counters = {f"{layer}.{what}": torch.zeros(1, dtype=torch.float64)
                for layer in ("conv1", "fc") for what in ("total_ops", "total_params")}  # fmt: skip
    return {**sd, "total_ops": torch.zeros(1), **counters}


def _behind(prefix: str) -> Callable[[State], State]:
    return lambda sd: {f"{prefix}{n}": t for n, t in sd.items()}


def _head(sd: State, name: str = "head") -> State:
    return {(f"{name}{n[2:]}" if n.startswith("fc") else f"backbone.{n}"): t for n, t in sd.items()}


RENAMED: dict[str, Callable[[State], Any]] = {
    "thop": _thop,
    "lightning": _behind("model."),
    "fsdp": _behind("_fsdp_wrapped_module."),
    "fsdp inside": lambda sd: {
        n.replace("conv1.", "conv1._fsdp_wrapped_module."): t for n, t in sd.items()
    },
    "compiled inside": lambda sd: {n.replace("fc.", "fc._orig_mod."): t for n, t in sd.items()},
    "module inside": _behind("model.module._orig_mod."),
    "backbone and head": _head,
    "backbone and head.fc": lambda sd: _head(sd, "head.fc"),
    "encoder_q with its copy": lambda sd: {
        **_behind("encoder_q.")(sd), **_behind("encoder_k.")(network(9).state_dict()),
        "queue": torch.ones(4, 8),
    },
    "head behind dropout": lambda sd: {n.replace("fc.", "fc.1."): t for n, t in sd.items()},
    "numbers of steps": lambda sd: {**sd, "steps": torch.tensor(90), "epoch": torch.tensor(3)},
    "a loss with weights": lambda sd: {**_behind("model.")(sd), "criterion.weight": torch.ones(5)},
    "arch in another spelling": lambda sd: {"state_dict": sd, "arch": "Tiny.a1_in1k"},
    "arch that nobody knows": lambda sd: {"state_dict": sd, "arch": "my-tiny-v7"},
}  # fmt: skip


@pytest.mark.parametrize("name", RENAMED)
def test_names_that_wrappers_and_frameworks_make_are_read(tmp_path: Path, name: str) -> None:
    plain = network()
    module, _ = read(tmp_path / "a.pth", RENAMED[name](plain.state_dict()))
    assert same(module, plain)
    checkpoint = load_checkpoint(tmp_path / "a.pth")
    assert matching_architectures(checkpoint.state_dict) == ["tiny"]


def test_what_a_prefix_leaves_is_named_or_refused(tmp_path: Path) -> None:
    state = network().state_dict()
    _, said = read(tmp_path / "a.pth", RENAMED["encoder_q with its copy"](state))
    assert said["prefix"] == "'encoder_q.' dropped" and said["unused"] == "encoder_k.*, queue"
    neck = {**_head(state), "neck.weight": torch.ones(16, 16)}
    torch.save(neck, tmp_path / "b.pth")
    with pytest.raises(SparsebenchError):
        build_from("tiny", load_checkpoint(tmp_path / "b.pth"), tmp_path / "b.pth")
    two = {**_behind("one.")(state), **_behind("two.")(network(4).state_dict())}
    with pytest.raises(SparsebenchError, match="several networks: 'one', 'two'"):
        read(tmp_path / "c.pth", two)
    assert same(read(tmp_path / "c.pth", two, "two")[0], network(4))
    averaged = {**_behind("model.")(state), **_behind("ema_model.")(network(5).state_dict())}
    assert same(read(tmp_path / "d.pth", averaged)[0], network(5))
    assert same(read(tmp_path / "d.pth", averaged, "raw")[0], network())


def test_other_parametrizations_and_shards_are_refused_by_name(tmp_path: Path) -> None:
    plain = network()
    parametrizations.weight_norm(plain.conv1)
    with pytest.raises(SparsebenchError, match="torch.nn.utils.parametrize"):
        read(tmp_path / "a.pth", plain.state_dict())
    with pytest.raises(SparsebenchError, match="a shard of FSDP"):
        read(
            tmp_path / "b.pth",
            {"_fsdp_wrapped_module._flat_param": torch.ones(9), "x": torch.ones(1)},
        )


def test_nni_s_wrappers_are_read(tmp_path: Path) -> None:
    plain, mask = network(), masks()
    old: State = {}
    for name, tensor in plain.state_dict().items():
        layer, _, last = name.rpartition(".")
        wrapped = layer in ("conv1", "fc")
        old[f"{layer}.module.{last}" if wrapped else name] = tensor
    for name, flags in mask.items():
        old[f"{name}_mask"] = flags
    old["conv1.bias_mask"] = torch.ones(16)
    new = {n.replace(".module.", "._nni_wrapper."): t for n, t in old.items()}
    new = {n.replace(".weight_mask", "._nni_wrapper.weight_mask"): t for n, t in new.items()}
    for state in (old, new):
        module, _ = read(tmp_path / "a.pth", state)
        assert torch.equal(module.fc.weight, plain.fc.weight.masked_fill(mask["fc.weight"] == 0, 0))


@pytest.mark.parametrize("dim", [0, 1, None])
def test_the_lengths_and_directions_of_weight_norm_are_read(tmp_path: Path, dim: Any) -> None:
    """Seen: "holds no classifier"."""
    plain = network()
    normed: Any = torch.nn.utils.weight_norm
    layers: list[Any] = [plain.conv1, plain.fc]
    for layer in layers:
        normed(layer, dim=dim)
        layer.weight_g.data *= 1.5
    plain(torch.zeros(1, 3, 9, 9))  # its hook computes the weights
    assert "fc.weight" not in plain.state_dict()
    module, _ = read(tmp_path / "a.pth", plain.state_dict())
    for name in ("conv1", "fc"):
        weight = plain.get_submodule(name).weight
        torch.testing.assert_close(module.get_submodule(name).weight, weight)


def test_spectral_norm_and_heads_of_several_layers_are_refused_by_name(tmp_path: Path) -> None:
    plain: Any = network()
    torch.nn.utils.spectral_norm(plain.fc)
    with pytest.raises(SparsebenchError, match=r"spectral_norm keeps it \('fc.weight_orig'"):
        read(tmp_path / "a.pth", plain.state_dict())
    plain = network()
    plain.fc = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(SparsebenchError, match=r"2 layers \(fc.0.weight, fc.3.weight\)"):
        read(tmp_path / "b.pth", plain.state_dict())


def test_folded_batch_norms_are_said(tmp_path: Path) -> None:
    state = network().state_dict()
    kept = {n: t for n, t in state.items() if not n.startswith("bn")}
    kept["conv1.bias"] = torch.zeros(16)
    with pytest.raises(SparsebenchError, match="batch norms are folded into its convolutions"):
        read(tmp_path / "a.pth", kept)


def test_the_tensors_decide_against_what_the_file_calls_itself(tmp_path: Path) -> None:
    """Seen: "says that it holds a resnet50", and the advice to name it so, which fails too."""
    module, said = read(
        tmp_path / "a.pth", {"arch": "resnet50", "state_dict": network().state_dict()}
    )
    assert same(module, network())
    assert said["named"] == "'resnet50' by the file; its tensors are a tiny's"
