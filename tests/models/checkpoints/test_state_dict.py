import argparse
import copy
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from sparsebench.models.architectures import ARCHITECTURES, ArchitectureSpec
from sparsebench.models.checkpoints import (
    FORMATS,
    CheckpointFormat,
    LoadedCheckpoint,
    load_checkpoint,
)
from sparsebench.models.checkpoints.fit import build_from
from sparsebench.models.errors import SparsebenchError


class Tiny(nn.Module):
    """A network small enough to write and read many times."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3)
        self.bn1 = nn.BatchNorm2d(16)
        self.bn1.running_mean = torch.linspace(-1, 1, 16)  # as if trained
        self.fc = nn.Linear(16, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.bn1(self.conv1(images)).mean((2, 3)))
        return logits


TINY = ArchitectureSpec("tiny", Tiny, classifier="fc", feature_dim=16)


@pytest.fixture(autouse=True)
def tiny_is_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_targets", dict(ARCHITECTURES._targets))
    ARCHITECTURES.register("tiny", f"{__name__}:TINY")


@pytest.fixture
def tiny() -> Any:
    torch.manual_seed(0)
    module = Tiny(5)
    module.conv1.weight.data[:, 0] = 0
    return module.eval()


def load(path: Path) -> Any:
    return build_from("tiny", load_checkpoint(path), path)


def assert_same(loaded: nn.Module, original: nn.Module) -> None:
    images = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(loaded(images), original(images))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda sd: sd,
        lambda sd: {"state_dict": sd, "epoch": 3, "arch": "tiny"},
        lambda sd: {"model": sd},
        lambda sd: {"epoch": 1, "model_state_dict": {f"module.{k}": v for k, v in sd.items()}},
        lambda sd: {f"_orig_mod.module.{k}": v for k, v in sd.items()},
        lambda sd: {"model": {"state_dict": sd}},
        lambda sd: {k: v for k, v in sd.items() if not k.endswith("num_batches_tracked")},
        lambda sd: {k: v.double() if v.is_floating_point() else v for k, v in sd.items()},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_usual_wrappings_of_a_pickled_state_dict(
    tmp_path: Path, tiny: Any, wrap: Any, zipped: bool
) -> None:
    path = tmp_path / "a.pth"
    torch.save(wrap(tiny.state_dict()), path, _use_new_zipfile_serialization=zipped)
    assert_same(load(path), tiny)


def test_safetensors_and_the_class_count_from_the_classifier(tmp_path: Path, tiny: Any) -> None:
    save_file(tiny.state_dict(), tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors")
    assert_same(loaded, tiny)
    assert loaded.fc.out_features == 5
    assert not loaded.training


def test_weights_pruned_with_torch_s_own_tool(tmp_path: Path) -> None:
    module = Tiny(5)
    prune_smallest: Any = prune.l1_unstructured
    prune_smallest(module.conv1, "weight", amount=0.9)
    prune_smallest(module.fc, "weight", amount=0.5)
    torch.save(module.state_dict(), tmp_path / "a.pth")
    loaded = load(tmp_path / "a.pth")
    assert torch.equal(loaded.conv1.weight, module.conv1.weight)
    assert int((loaded.fc.weight == 0).sum()) == 5 * 16 // 2


def test_masks_beside_the_weights_are_applied(tmp_path: Path, tiny: Any) -> None:
    state = dict(tiny.state_dict())
    state["fc.weight_mask"] = (torch.arange(16) % 2).expand(5, -1).clone()
    torch.save(state, tmp_path / "a.pth")
    weight = load(tmp_path / "a.pth").fc.weight
    assert torch.equal(weight[:, ::2], torch.zeros(5, 8))
    assert torch.equal(weight[:, 1::2], tiny.fc.weight[:, 1::2])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda sd: sd.pop("bn1.bias"), r"1 missing \(bn1\.bias\)"),
        (lambda sd: sd.update({"extra.weight": torch.ones(1)}), r"1 unknown \(extra\.weight\)"),
        (lambda sd: sd.update({"conv1.weight": torch.ones(16, 3, 5, 5)}), "of another shape"),
        (lambda sd: sd.pop("fc.weight"), "holds no classifier"),
        (lambda sd: sd.update({"fc.weight": torch.ones(5, 16, 1, 1)}), "holds no classifier"),
        (lambda sd: sd["conv1.weight"].view(-1)[7].fill_(float("nan")), "NaN"),
        (lambda sd: sd["bn1.running_var"][3].fill_(float("inf")), "infinite"),
        (lambda sd: sd["bn1.running_mean"].zero_(), "no trained network"),
        (lambda sd: sd.update({"fc.weight_mask": torch.full((5, 16), 0.5)}), "other than 0 and 1"),
        (lambda sd: sd.update({"fc.weight_mask": torch.ones(5)}), "fits no weight"),
        (lambda sd: sd.update({"fc.weight_orig": sd.pop("fc.weight")}), "without its mask"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_with_examples(
    tmp_path: Path, tiny: Any, change: Any, complaint: str
) -> None:
    state = {k: v.clone() for k, v in tiny.state_dict().items()}
    change(state)
    torch.save(state, tmp_path / "mine.pth")
    with pytest.raises(SparsebenchError, match=complaint) as caught:
        load(tmp_path / "mine.pth")
    assert "mine.pth" in caught.value.cause


def test_another_architecture_is_refused(tmp_path: Path, tiny: Any) -> None:
    torch.save({"state_dict": tiny.state_dict(), "arch": "tiny"}, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match="holds a tiny, not a resnet18"):
        build_from("resnet18", load_checkpoint(tmp_path / "a.pth"), tmp_path / "a.pth")
    torch.save(tiny.state_dict(), tmp_path / "b.pth")
    with pytest.raises(SparsebenchError, match=r"b\.pth' does not fit resnet18.*missing \(layer1"):
        build_from("resnet18", load_checkpoint(tmp_path / "b.pth"), tmp_path / "b.pth")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(SparsebenchError, match="never done"):
        load_checkpoint("a.pth")
    assert not Path("exploded").exists()


def test_what_stands_beside_the_weights_is_not_run_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny.state_dict(), "args": argparse.Namespace(lr=0.1)}, "a.pth")
    assert_same(load(Path("a.pth")), tiny)
    # Named like an optimizer, called like a function: a placeholder takes the call.
    content = b"coptimization.sgd\nSGD\n(S'touch exploded'\ntR."
    with zipfile.ZipFile("b.pth", "w") as archive:
        archive.writestr("b/data.pkl", b"\x80\x02" + content)
        archive.writestr("b/version", b"3\n")
        archive.writestr("b/byteorder", b"little")
    with pytest.raises(SparsebenchError):
        load_checkpoint("b.pth")
    for code in (b"cos\nsystem\n", b"cposix\nsystem\n", b"cbuiltins\neval\n"):
        with zipfile.ZipFile("c.pth", "w") as archive:
            archive.writestr("c/data.pkl", b"\x80\x02" + code + b"(S'touch exploded'\ntR.")
            archive.writestr("c/version", b"3\n")
            archive.writestr("c/byteorder", b"little")
        with pytest.raises(SparsebenchError):
            load_checkpoint("c.pth")
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "payload", [torch.ones(3), [1, 2], {"epoch": 3}, {"state_dict": {"state_dict": {}}}, "text"]
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, payload: Any) -> None:
    torch.save(payload, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match="no state dict"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, tiny: Any, suffix: str, share: float) -> None:
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    if suffix == ".pth":
        torch.save(tiny.state_dict(), whole)
    else:
        save_file(tiny.state_dict(), whole)
    content = whole.read_bytes()
    part.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SparsebenchError, match=rf"part\{suffix}"):
        load_checkpoint(part)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", b"not a checkpoint"),
        ("a.pth", b"\x80\x02garbage"),
        ("a.pth", b"PK\x03\x04garbage"),
        ("a.safetensors", b"\xff" * 64),
        ("a.safetensors", (10**15).to_bytes(8, "little") + b"{}"),
        ("a.onnx", b"\x08\x07\x12\x07pytorch"),
        ("a", b"plain text"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SparsebenchError, match=name) as caught:
        load_checkpoint(tmp_path / name)
    assert caught.value.fix


def test_statistics_that_were_only_shifted_are_taken(tmp_path: Path, tiny: Any) -> None:
    tiny.bn1.running_mean.zero_()
    tiny.bn1.running_var[2] = 0.5
    torch.save(tiny.state_dict(), tmp_path / "a.pth")
    assert_same(load(tmp_path / "a.pth"), tiny)


def test_untrained_statistics_are_taken_where_the_card_says_so(tmp_path: Path, tiny: Any) -> None:
    tiny.bn1.running_mean.zero_()
    torch.save(tiny.state_dict(), tmp_path / "a.pth")
    checkpoint = load_checkpoint(tmp_path / "a.pth")
    assert_same(build_from("tiny", checkpoint, tmp_path / "a.pth", trained=False), tiny)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    # One number, repeated 10^12 times by strides of zero: masking it would fill the memory.
    huge = torch.zeros(1).as_strided((10**6, 10**6), (0, 0))
    torch.save({"fc.weight": huge, "fc.weight_mask": huge}, tmp_path / "a.pth")
    assert (tmp_path / "a.pth").stat().st_size < 10_000
    with pytest.raises(SparsebenchError, match=r"claims 1e\+12 values"):
        load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "tensor", [torch.eye(3).to_sparse(), torch.zeros(2, device="meta")], ids=["sparse", "meta"]
)
def test_tensors_that_are_no_plain_arrays_are_refused(tmp_path: Path, tensor: Any) -> None:
    torch.save({"fc.weight": tensor}, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match=r"'fc\.weight' in .*a\.pth"):
        load_checkpoint(tmp_path / "a.pth")


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(80 * 2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(SparsebenchError, match="80 MiB"):
        load_checkpoint(path)


def test_entries_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", bytes(2**20))
        for number in range(1, 50):
            twin = copy.copy(archive.filelist[0])
            twin.filename = f"archive/data/{number}"
            archive.filelist.append(twin)
    with pytest.raises(SparsebenchError, match="50 MiB, more than the whole file"):
        load_checkpoint(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match="no checkpoint file"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(SparsebenchError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_a_format_of_ones_own_joins_by_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FORMATS, "_targets", dict(FORMATS._targets))
    FORMATS.register("upper", f"{__name__}:UPPER")
    torch.save({"FC.WEIGHT": torch.ones(2)}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert (loaded.format, list(loaded.state_dict)) == ("upper", ["fc.weight"])


UPPER = CheckpointFormat(
    "upper",
    "names in capitals",
    lambda opened: opened.kind == "torch" and all(k.isupper() for k in opened.payload),
    lambda opened: LoadedCheckpoint({k.lower(): v for k, v in opened.payload.items()}, {}, "upper"),
)
