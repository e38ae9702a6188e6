"""Names and cards of all sources; what is shipped is tested by being there."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.models import resnet18

from sparsebench.models.architectures import ARCHITECTURES, build
from sparsebench.models.cards import FAMILIES, Budget, Card
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.generated import GENERATED_METHODS
from sparsebench.models.masks import mask_hash, mask_of, sparsity
from sparsebench.models.names import BackboneName
from sparsebench.models.oneshot import ONE_SHOT_METHODS
from sparsebench.models.sources import shipped
from sparsebench.models.sources.shipped import ZOO_FOLDER, card_files, find_in, list_in
from sparsebench.models.sparsify.plans import read_plan
from sparsebench.models.weights_hash import weights_hash
from sparsebench.models.zoo import find_card, list_cards
from sparsebench.models.zoo.load import load_backbone
from tests.models.zoo.writing import write_card_and_weights

SHIPPED = [card.name for card in list_in(ZOO_FOLDER)]


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_loads_and_is_what_its_card_says(name: str) -> None:
    backbone = load_backbone(name)
    card = backbone.card
    assert card.name == name == str(BackboneName.parse(name))
    assert backbone.measured_sparsity == pytest.approx(card.sparsity, abs=0.01)
    assert mask_hash(backbone.mask) == mask_hash(mask_of(backbone.module))
    assert not backbone.module.training
    assert card.sha256 is not None and card.trained and card.licence
    assert card.upstream_accuracy is not None and card.upstream_data is not None
    partner = find_card(card.dense_partner)
    assert (partner.method, partner.arch) == ("dense", card.arch)
    if partner.upstream_data == card.upstream_data:
        assert partner.preprocessing == card.preprocessing
    size = card.preprocessing.size
    with torch.no_grad():
        logits = backbone.module(torch.zeros(1, 3, size, size))
    assert logits.shape == (1, card.num_classes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.startswith("resnet18/")])
def test_a_shipped_network_and_its_baseline_had_equal_training(name: str) -> None:
    """What the card says of the budget is what the plans say that made it."""
    card = find_card(name)
    epochs, at = 0, name
    while at:
        plan = read_plan(ZOO_FOLDER / f"plans/{at.replace('/', '-')}.toml")
        epochs, at = epochs + plan["epochs"], plan.get("start", "")
    images = 50_000 * epochs  # the training split of mini-ImageNet
    assert card.budget == Budget(epochs, images) == find_card(card.dense_partner).budget


def test_every_listed_card_is_found_again_by_its_name() -> None:
    cards = list_cards()
    assert len({card.name for card in cards}) == len(cards)
    for card in cards:
        assert find_card(card.name) == card
        assert card.family in FAMILIES
        assert card.arch in ARCHITECTURES
        assert find_card(card.dense_partner).method == "dense"
        if not card.trained:
            assert card.upstream_accuracy is None
            assert "andom weights" in card.notes


def test_everything_can_be_generated_for_every_architecture() -> None:
    names = {card.name for card in list_cards()}
    for arch in ARCHITECTURES:
        assert f"{arch}/dense@generated" in names
        for method in GENERATED_METHODS:
            card = find_card(f"{arch}/{method}-87.5@generated")
            assert (card.sparsity, card.trained, card.family) == (0.875, False, "generated")
            assert card.dense_partner == f"{arch}/dense@generated"


def test_cards_are_found_without_torch_and_at_once() -> None:
    program = (
        "import sys, time; "
        "from sparsebench.models.zoo import find_card, list_cards; t = time.process_time();"
        "list_cards(); find_card('efficientnet_lite0/magnitude-50');"
        "print(time.process_time() - t); sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.0  # of this process, whoever else is busy


@pytest.mark.parametrize("method", ONE_SHOT_METHODS)
def test_one_shot_pruning_of_the_shipped_network(method: str) -> None:
    dense = load_backbone("efficientnet_lite0/dense")
    pruned = load_backbone(f"efficientnet_lite0/{method}-50")
    zeros = sum(int((~kept).sum()) for kept in pruned.mask.values())
    assert zeros == round(0.5 * sum(kept.numel() for kept in pruned.mask.values()))
    assert (pruned.card.family, pruned.card.trained) == ("one-shot", True)
    assert pruned.card.dense_partner == "efficientnet_lite0/dense"
    assert pruned.card.preprocessing == dense.card.preprocessing
    assert pruned.card.upstream_accuracy is None
    state = pruned.module.state_dict()
    for name, tensor in dense.module.state_dict().items():
        kept = pruned.mask.get(name, torch.tensor(True))
        assert torch.equal(state[name], torch.where(kept, tensor, torch.zeros_like(tensor)))


def test_one_shot_pruning_of_generated_weights_stays_speed_only() -> None:
    backbone = load_backbone("mobilenet_v2/magnitude-80@generated")
    assert backbone.measured_sparsity == pytest.approx(0.8, abs=1e-6)
    assert not backbone.card.trained
    assert backbone.card.dense_partner == "mobilenet_v2/dense@generated"


def test_equal_weights_have_equal_hashes_and_others_do_not() -> None:
    first, second = (load_backbone("mobilenet_v2/dense@generated") for _ in range(2))
    altered: Any = second.module
    assert first.sha256 == second.sha256 == weights_hash(first.module)
    altered.features[0][1].bias.data[0] += 1e-6
    assert weights_hash(altered) != first.sha256


@pytest.mark.parametrize(
    ("name", "kind", "offered"),
    [
        ("resnet81/dense", "architecture", "'resnet18'"),
        ("efficientnet_lite0/magnitud-50", "method", "'magnitude'"),
        ("resnet18/dense@torchvsion", "source", "'torchvision'"),
        ("efficientnet_lite0/dens-50", "method", "'dense'"),
    ],
)
def test_unknown_names_offer_near_ones(name: str, kind: str, offered: str) -> None:
    with pytest.raises(UnknownNameError, match=offered) as caught:
        find_card(name)
    assert caught.value.kind == kind


@pytest.fixture
def lite0_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zoo that ships EfficientNet-Lite0 and nothing else."""
    shutil.copy(ZOO_FOLDER / "efficientnet_lite0-dense.json", tmp_path)
    monkeypatch.setattr(shipped, "ZOO_FOLDER", tmp_path)


@pytest.mark.usefixtures("lite0_only")
@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("resnet50/erk-90", "'resnet50/erk-90@generated'"),
        ("mobilenet_v2/uniform-80", "'mobilenet_v2/uniform-80@generated'"),
        ("resnet34/magnitude-50", "'resnet34/magnitude-50@torchvision'"),
        ("mobilenet_v2/dense", "'mobilenet_v2/dense@torchvision'"),
        ("efficientnet_lite0/dense@torchvision", "'efficientnet_lite0/dense'"),
    ],
)
def test_what_another_source_has_is_offered(name: str, offered: str) -> None:
    with pytest.raises(SparsebenchError, match=offered):
        find_card(name)


@pytest.fixture
def written(tmp_path: Path) -> Card:
    torch.manual_seed(0)
    module: Any = build("mobilenet_v2", num_classes=4).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            flat = layer.weight.data.view(-1)
            flat[: int(0.975 * flat.numel())] = 0
    half = module.features[1].conv[1].weight
    half.data.fill_(0.5)
    half.data[: len(half) // 2] = 0
    # As after a training: untouched statistics would be refused.
    module.features[0][1].running_mean.fill_(0.25)
    base = find_card("mobilenet_v2/dense@generated")
    card = replace(
        base,
        name="mobilenet_v2/gmp-97.5@somewhere",
        method="gmp",
        family="progressive",
        sparsity=0.975,
        trained=True,
        upstream_accuracy=0.4321,
        upstream_data="made up",
        dense_partner="mobilenet_v2/dense",
        num_classes=4,
        preprocessing=replace(base.preprocessing, size=64, resize=73, mean=(0.1, 0.2, 0.3)),
    )
    return write_card_and_weights(card, module, folder=tmp_path, dtype=torch.bfloat16)


def test_a_written_backbone_is_listed_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Card
) -> None:
    assert written.name == "mobilenet_v2/gmp-97.5"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "mobilenet_v2-gmp-97.5.json",
        "mobilenet_v2-gmp-97.5.safetensors",
    ]
    assert list_in(tmp_path) == [written]
    monkeypatch.setattr(shipped, "ZOO_FOLDER", tmp_path)
    backbone = load_backbone("mobilenet_v2/gmp-97.5")
    assert backbone.card == written
    assert sparsity({"w": backbone.mask["features.1.conv.1.weight"]}) == 0.5
    assert backbone.module.get_parameter("classifier.1.bias").shape == (4,)


def test_another_sparsity_than_what_is_shipped_offers_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Card
) -> None:
    monkeypatch.setattr(shipped, "ZOO_FOLDER", tmp_path)
    with pytest.raises(UnknownNameError, match=r"'mobilenet_v2/gmp-97\.5'"):
        find_card("mobilenet_v2/gmp-90")


def test_a_written_backbone_loads_from_any_folder_with_its_card(
    tmp_path: Path, written: Card
) -> None:
    path = tmp_path / "mobilenet_v2-gmp-97.5.safetensors"
    card = load_backbone(f"mobilenet_v2/gmp-97.5@{path}").card
    assert card.preprocessing == written.preprocessing
    assert (card.family, card.upstream_accuracy) == ("progressive", 0.4321)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "corrupt"),
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "corrupt"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "git-lfs"),
        (lambda path: path.unlink(), "missing"),
    ],
)
def test_damaged_weights_are_noticed(
    tmp_path: Path, written: Card, damage: Any, complaint: str
) -> None:
    damage(tmp_path / "mobilenet_v2-gmp-97.5.safetensors")
    found = find_in(tmp_path, BackboneName.parse(written.name))
    assert found is not None
    with pytest.raises(SparsebenchError, match=complaint):
        found.load()


def test_an_empty_or_missing_zoo_is_no_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert list_in(folder) == []
        assert find_in(folder, BackboneName.parse("resnet18/dense")) is None


def test_weights_of_a_package_that_is_not_installed(tmp_path: Path) -> None:
    content = json.loads((ZOO_FOLDER / "efficientnet_lite0-dense.json").read_text())
    content["weights"] |= {"package": "no_such_package", "distribution": "no-such-package"}
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = find_in(tmp_path, BackboneName.parse("efficientnet_lite0/dense"))
    assert found is not None
    with pytest.raises(SparsebenchError, match="uv pip install no-such-package"):
        found.load()


@cache
def _libraries_imported(arch: str) -> None:
    load_backbone(next(name for name in SHIPPED if name.startswith(f"{arch}/")))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_loads_in_less_than_a_second(name: str) -> None:
    _libraries_imported(name.partition("/")[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other in loops, long on a busy machine
    try:
        start = time.thread_time()
        load_backbone(name)
        assert time.thread_time() - start < 1.0  # 0.2-0.3 seen
    finally:
        torch.set_num_threads(threads)


def test_sparse_weights_take_the_room_of_their_non_zeros(tmp_path: Path) -> None:
    card = find_card("resnet18/uniform-90@generated")
    backbone = load_backbone(card.name)
    write_card_and_weights(card, backbone.module, folder=tmp_path)
    size = (tmp_path / "resnet18-uniform-90.safetensors").stat().st_size
    assert size < 0.14 * 4 * 11_700_000  # a tenth of the values and one bit for each weight
    found = find_in(tmp_path, BackboneName.parse("resnet18/uniform-90"))
    assert found is not None
    assert weights_hash(found.load()) == backbone.sha256


@pytest.mark.slow
def test_accuracies_are_what_the_cards_say() -> None:
    """By a loop of its own: torchvision's network, images read from the archive."""
    folder = os.environ.get("SPARSEBENCH_TEST_DATA")
    if not folder:
        pytest.skip("SPARSEBENCH_TEST_DATA names no folder with mini-imagenet-64.tar")
    images, labels = _test_images(Path(folder) / "mini-imagenet-64.tar")
    starts, found, said = range(0, len(images), 250), {}, {}
    for name in (name for name in SHIPPED if name.startswith("resnet18/")):
        backbone = load_backbone(name)
        network = resnet18(num_classes=backbone.card.num_classes)
        network.load_state_dict(backbone.module.state_dict())
        network.eval()
        with torch.inference_mode():
            answers = torch.cat([network(images[at : at + 250]).argmax(1) for at in starts])
        found[name] = float((answers == labels).float().mean())
        said[name] = backbone.card.upstream_accuracy
    assert found == pytest.approx(said, abs=0.003)


def _test_images(archive: Path) -> tuple[Tensor, Tensor]:
    arrays, names = [], []
    with tarfile.open(archive) as file:
        for member in file:
            parts = Path(member.name).parts
            if member.isfile() and parts[-3:-2] == ("test",):
                content = file.extractfile(member)
                assert content is not None
                arrays.append(np.array(Image.open(content).convert("RGB")))
                names.append(parts[-2])
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    pixels = torch.from_numpy(np.stack(arrays)).float() / 255
    classes = {name: number for number, name in enumerate(sorted(set(names)))}
    images = ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor([classes[name] for name in names])


def test_shipped_cards_lie_where_the_package_looks() -> None:
    assert [p.name for p in card_files(ZOO_FOLDER)].count("efficientnet_lite0-dense.json") == 1
