import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sparsebench.models.architectures import build
from sparsebench.models.card_file import SCHEMA
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.generated import generate
from sparsebench.models.masks import apply_mask
from sparsebench.models.oneshot import global_magnitude
from sparsebench.models.sources import shipped
from sparsebench.models.sources.own_file import name_of_file
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone

ARCH = "mobilenet_v2"


@pytest.fixture(scope="module")
def dense_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "dense.pth"
    torch.save(generate(ARCH, "dense", 0.0, 3).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def sparse_file(dense_file: Path) -> Path:
    module = build(ARCH, 3)
    module.load_state_dict(torch.load(dense_file, weights_only=True))
    apply_mask(module, global_magnitude(module, 0.8))
    torch.save(module.state_dict(), dense_file.with_name("sparse.pth"))
    return dense_file.with_name("sparse.pth")


def test_a_file_loads_under_a_name_of_one_s_own(sparse_file: Path) -> None:
    backbone = load_backbone(f"{ARCH}/mine-80@{sparse_file}")
    assert backbone.card.name == f"{ARCH}/mine-80@{sparse_file}"
    assert backbone.card.family == "unknown"
    assert backbone.measured_sparsity == pytest.approx(0.8, abs=1e-6)
    last = backbone.module.get_submodule("classifier.1")
    assert isinstance(last, nn.Linear) and last.out_features == 3


def test_a_relative_path_works_and_a_known_method_has_its_family(
    sparse_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sparse_file.parent)
    card = load_backbone(f"{ARCH}/woodfisher-80@sparse.pth").card
    assert card.family == "progressive"
    assert "no sparse.json" in card.notes


def test_the_dense_partner_is_the_shipped_one_or_torchvision_s(
    sparse_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_lite0 = [p for p in shipped.card_files(shipped.ZOO_FOLDER) if "lite0-dense" in p.name]
    monkeypatch.setattr(shipped, "card_files", lambda folder: only_lite0)
    assert find_card(f"{ARCH}/mine-80@{sparse_file}").dense_partner == f"{ARCH}/dense@torchvision"
    lite = find_card(f"efficientnet_lite0/mine-80@{sparse_file}")
    assert lite.dense_partner == "efficientnet_lite0/dense"


def test_a_dense_file_is_its_own_partner(dense_file: Path) -> None:
    backbone = load_backbone(f"{ARCH}/dense@{dense_file}")
    assert backbone.card.dense_partner == backbone.card.name


def test_one_shot_pruning_of_one_s_own_dense_file(dense_file: Path) -> None:
    backbone = load_backbone(f"{ARCH}/magnitude-70@{dense_file}")
    assert backbone.measured_sparsity == pytest.approx(0.7, abs=1e-6)
    assert backbone.card.dense_partner == f"{ARCH}/dense@{dense_file}"


def test_a_sparse_file_is_not_taken_for_dense(sparse_file: Path) -> None:
    for name in (f"{ARCH}/dense@{sparse_file}", f"{ARCH}/magnitude-90@{sparse_file}"):
        with pytest.raises(SparsebenchError, match=r"80\.0% sparse"):
            load_backbone(name)


def test_a_dense_file_is_not_taken_for_sparse(dense_file: Path) -> None:
    with pytest.raises(SparsebenchError, match="holds no zero weight"):
        load_backbone(f"{ARCH}/gmp-90@{dense_file}")


@pytest.mark.parametrize("label", ["gmp-90", "gmp-95", "gmp-70", "str-74.9"])
def test_a_label_that_the_file_contradicts_is_refused(sparse_file: Path, label: str) -> None:
    with pytest.raises(SparsebenchError, match=r"is 80\.0% sparse, but .* says") as caught:
        load_backbone(f"{ARCH}/{label}@{sparse_file}")
    assert f"{label.partition('-')[0]}-80@" in caught.value.fix
    assert load_backbone(f"{ARCH}/gmp-82@{sparse_file}").measured_sparsity == pytest.approx(0.8)


def test_one_zero_in_a_dense_file_makes_no_label_true(dense_file: Path, tmp_path: Path) -> None:
    state = torch.load(dense_file, weights_only=True)
    state["features.0.0.weight"].view(-1)[0] = 0
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match=r"is 0\.0% sparse, but .* says 90\.0%"):
        load_backbone(f"{ARCH}/gmp-90@{tmp_path / 'a.pth'}")


def test_a_label_over_the_pruned_layers_alone_is_taken_and_said(
    dense_file: Path, tmp_path: Path
) -> None:
    """MobileNet's classifier and first layer are often left dense."""
    module = build(ARCH, 1000)
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if parameter.dim() == 4 and name != "features.0.0.weight":
            parameter.data[torch.rand(parameter.shape) < 0.9] = 0
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.fill_(0.1)
    torch.save(module.state_dict(), tmp_path / "a.pth")
    backbone = load_backbone(f"{ARCH}/gmp-90@{tmp_path / 'a.pth'}")
    assert backbone.measured_sparsity < 0.7
    assert "of those in the 51 of 53 layers that are pruned" in backbone.said["sparsity"]


def test_a_few_zeros_do_not_keep_a_file_from_being_dense(dense_file: Path, tmp_path: Path) -> None:
    state = torch.load(dense_file, weights_only=True)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if tensor.dim() == 4:
            tensor[torch.rand(tensor.shape, generator=generator) < 0.12] = 0
            assert name
    torch.save(state, tmp_path / "a.pth")
    backbone = load_backbone(f"{ARCH}/dense@{tmp_path / 'a.pth'}")
    assert "of its weights are zero" in backbone.said["sparsity"]


def test_averages_without_the_zeros_of_the_raw_weights_are_not_called_sparse(
    dense_file: Path, sparse_file: Path, tmp_path: Path
) -> None:
    raw, averages = (torch.load(p, weights_only=True) for p in (sparse_file, dense_file))
    path = tmp_path / "a.pth"
    torch.save({"model": raw, "model_ema": averages}, path)
    with pytest.raises(SparsebenchError, match=r"a\.pth#model"):
        load_backbone(f"{ARCH}/gmp-80@{path}")
    backbone = load_backbone(f"{ARCH}/gmp-80@{path}#raw")
    assert backbone.measured_sparsity == pytest.approx(0.8, abs=1e-6)
    assert backbone.said["weights"].startswith("entry 'model'; not used: model_ema")


def test_a_card_beside_the_file_tells_its_preprocessing(sparse_file: Path, tmp_path: Path) -> None:
    content = {
        "schema": SCHEMA,
        "name": f"{ARCH}/gmp-80",
        "family": "progressive",
        "preprocessing": {"size": 64, "resize": 64},
        "dense_partner": f"{ARCH}/dense@generated",
    }
    mine = tmp_path / "mine.pth"
    shutil.copy(sparse_file, mine)
    mine.with_suffix(".json").write_text(json.dumps(content))
    card = find_card(f"{ARCH}/gmp-80@{mine}")
    assert (card.preprocessing.size, card.preprocessing.resize) == (64, 64)
    assert (card.family, card.dense_partner) == ("progressive", f"{ARCH}/dense@generated")


def test_a_missing_file_is_named_before_anything_is_loaded() -> None:
    with pytest.raises(SparsebenchError, match=r"no checkpoint file 'nowhere/a\.pth'"):
        find_card("resnet18/mine-90@nowhere/a.pth")
    with pytest.raises(SparsebenchError, match="no checkpoint file"):
        find_card("resnet18/mine-90@a.safetensors")


@pytest.mark.parametrize(
    "odd",
    [{"sparsity": "nan"}, {"sparsity": "inf"}, {"sparsity": "-5"}, {"sparsity": "1e400"},
     {"sparsity": "x"}, {"method": "a/b"}, {"method": "x\n::error::"}, {"arch": "../r@b"}],
)  # fmt: skip
def test_metadata_that_make_no_name_are_no_name(
    sparse_file: Path, tmp_path: Path, odd: dict[str, str]
) -> None:
    said = {"arch": ARCH, "method": "gmp", "sparsity": "0.8"}
    state = torch.load(sparse_file, weights_only=True)
    save_file(state, tmp_path / "good.safetensors", said)
    assert name_of_file(str(tmp_path / "good.safetensors")).method == "gmp"
    save_file(state, tmp_path / "my.safetensors", said | odd)
    name = name_of_file(str(tmp_path / "my.safetensors"))
    assert (name.arch, name.method) == (ARCH, "my")
    assert name.sparsity == pytest.approx(0.8, abs=1e-3)


def test_another_architecture_s_file_is_refused(sparse_file: Path) -> None:
    with pytest.raises(SparsebenchError, match=r"sparse\.pth' holds no classifier of a resnet18"):
        load_backbone(f"resnet18/mine-80@{sparse_file}")
