"""What stands in a checkpoint beside the weights: averages, masks, wrappers, other networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier
from torch.nn.utils import parametrizations, parametrize
from torch.optim.swa_utils import AveragedModel

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.checkpoints import load_checkpoint, split_entry
from sparsebench.models.checkpoints.fit import build_from, matching_architectures
from sparsebench.models.errors import SparsebenchError
from tests.models.checkpoints.test_state_dict import Tiny

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def tiny_is_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_targets", dict(ARCHITECTURES._targets))
    ARCHITECTURES.register("tiny", "tests.models.checkpoints.test_state_dict:TINY")


def network(seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    return Tiny(5).eval()


def read(path: Path, payload: Any, entry: str | None = None) -> tuple[Any, dict[str, str]]:
    torch.save(payload, path)
    checkpoint = load_checkpoint(path, entry)
    module = build_from("tiny", checkpoint, path)
    return module, checkpoint.metadata


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items()
    )


PAIRS = [
    ("model", "model_ema"),
    ("state_dict", "state_dict_ema"),
    ("net", "ema_net"),
    ("model", "ema"),
    ("model_state_dict", "ema_state_dict"),
    ("state_dict", "swa_state_dict"),
]


@pytest.mark.parametrize(("raw", "average"), PAIRS)
def test_averages_are_taken_before_raw_weights_and_both_can_be_chosen(
    tmp_path: Path, raw: str, average: str
) -> None:
    path, plain, averaged = tmp_path / "a.pth", network(0), network(1)
    payload = {"epoch": 3, average: averaged.state_dict(), raw: plain.state_dict()}
    module, said = read(path, payload)
    assert same(module, averaged)
    assert said["weights"].startswith(f"entry '{average}' (moving averages); not used: {raw}")
    module, said = read(path, payload, "raw")
    assert same(module, plain) and average in said["weights"]
    assert same(read(path, payload, "ema")[0], averaged)
    assert same(read(path, payload, raw)[0], plain)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda sd: {"model_ema": sd},
        lambda sd: {"ema": sd, "epoch": 1},
        lambda sd: {"ema_state_dict": {f"module.{n}": t for n, t in sd.items()}},
        lambda sd: {"ema": {"module": sd, "decay": 0.99}},
    ],
)
def test_averages_alone_are_read(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    plain = network()
    assert same(read(tmp_path / "a.pth", wrap(plain.state_dict()))[0], plain)


@pytest.mark.parametrize("wanted", ["nonsense", "ema", "model.nonsense", "odel"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda sd: sd,
        lambda sd: {"model": sd},
        lambda sd: {f"model.{n}": t for n, t in sd.items()},
        lambda sd: {"state_dict": {f"module.model.{n}": t for n, t in sd.items()}},
    ],
)
def test_a_choice_that_names_nothing_in_the_file_is_refused(
    tmp_path: Path, wrap: Callable[[State], Any], wanted: str
) -> None:
    torch.save(wrap(network().state_dict()), tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match=f"called '{wanted}'|no averaged weights"):
        load_checkpoint(tmp_path / "a.pth", wanted)


def test_averages_of_a_part_of_the_network_name_what_else_the_file_holds(tmp_path: Path) -> None:
    state = network().state_dict()
    parts: list[State] = [
        {n: t for n, t in state.items() if "running" not in n and "num_b" not in n},
        {n: t for n, t in state.items() if n.startswith("fc.")},
        {n: t for n, t in state.items() if not n.startswith("fc.")},
    ]
    for part in parts:
        payload = {"model": state, "ema": part}
        with pytest.raises(SparsebenchError, match=r"entry 'ema'.*name it a.pth#model"):
            read(tmp_path / "a.pth", payload)
        assert same(read(tmp_path / "a.pth", payload, "raw")[0], network())


def test_torch_s_averaged_model_is_read_and_its_counter_named(tmp_path: Path) -> None:
    plain = network()
    averaged = AveragedModel(plain)
    module, said = read(tmp_path / "a.pth", averaged.state_dict())
    assert same(module, plain) and "n_averaged" in said["ignored"]


def masks() -> State:
    generator = torch.Generator().manual_seed(3)
    shapes = {"conv1.weight": (16, 3, 3, 3), "fc.weight": (5, 16)}
    return {n: (torch.rand(s, generator=generator) < 0.1).float() for n, s in shapes.items()}


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


def test_containers_that_hold_each_other_end(tmp_path: Path) -> None:
    loop: dict[str, Any] = {"w": torch.ones(2, 2)}
    loop |= {f"k{i}": loop for i in range(400)}
    with pytest.raises(SparsebenchError, match="hold each other"):
        read(tmp_path / "my.pth", loop)


def test_a_state_dict_deep_inside_is_found(tmp_path: Path) -> None:
    payload = {"run": {"best": {"trainer": {"net": {"weights": network().state_dict()}}}}}
    assert same(read(tmp_path / "my.pth", payload)[0], network())


def test_what_is_not_used_is_named(tmp_path: Path) -> None:
    plain = network()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    plain(torch.randn(2, 3, 9, 9)).sum().backward()
    optimizer.step()
    payload = {
        "state_dict": plain.state_dict(),
        "optimizer": optimizer.state_dict(),
        "init_weight": network(2).state_dict(),
        "best": torch.tensor(0.7),
        "epoch": 3,
    }
    module, said = read(tmp_path / "a.pth", payload)
    assert same(module, plain)
    assert said["unused"] == "optimizer, init_weight, best"


def test_several_networks_are_asked_for(tmp_path: Path) -> None:
    path, one, two = tmp_path / "a.pth", network(0), network(1)
    payload = {"generator": one.state_dict(), "classifier": two.state_dict()}
    torch.save(payload, path)
    with pytest.raises(SparsebenchError, match="several networks: generator, classifier"):
        load_checkpoint(path)
    assert same(read(path, payload, "classifier")[0], two)
    assert split_entry(f"{path}#classifier") == (path, "classifier")
    assert split_entry(str(path)) == (path, None)


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


def test_files_of_other_kinds_are_called_what_they_are(tmp_path: Path) -> None:
    scripted = tmp_path / "a.pt"
    jit: Any = torch.jit
    jit.save(jit.trace(network(), torch.zeros(1, 3, 9, 9)), str(scripted))
    with pytest.raises(SparsebenchError, match="is a TorchScript program") as caught:
        load_checkpoint(scripted)
    assert "torch.onnx.export(torch.jit.load" in caught.value.fix
    program = torch.export.export(network(), (torch.zeros(1, 3, 9, 9),))
    torch.export.save(program, tmp_path / "b.pt2")
    np.savez(tmp_path / "c.npz", w=np.ones(3))
    (tmp_path / "d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "e.pth").write_bytes(b"<!doctype html><p>Not found")
    (tmp_path / "f.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    kinds = {
        "b.pt2": "torch.export program",
        "c.npz": "NumPy arrays",
        "d.h5": "HDF5",
        "e.pth": "a web page",
        "f.pth": "Git LFS",
    }
    for name, kind in kinds.items():
        with pytest.raises(SparsebenchError, match=kind):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "whose"),
    [
        (["resnet.embedder.embedder.convolution.weight", "classifier.1.weight"], "transformers"),
        (["cls_token", "blocks.0.attn.qkv.weight", "head.weight"], "a vision transformer"),
        (["class_token", "conv_proj.weight", "heads.head.weight"], "a vision transformer"),
        (["vit.embeddings.cls_token", "vit.layernorm.weight"], "transformers"),
    ],
)
def test_networks_that_the_suite_does_not_build_are_sent_to_onnx(
    tmp_path: Path, names: list[str], whose: str
) -> None:
    torch.save({name: torch.ones(4, 4) for name in names}, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match=whose) as caught:
        build_from("tiny", load_checkpoint(tmp_path / "a.pth"), tmp_path / "a.pth")
    assert "torch.onnx.export" in caught.value.fix
    found = inspect_target(str(tmp_path / "a.pth"))
    assert whose in found.unknown[0] and "torch.onnx.export" in found.facts["to run it"]
