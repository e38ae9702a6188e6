from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.models import WeightsEnum, get_weight, resnet18

from sparsebench.models.architectures import ARCHITECTURES, find_architecture
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_cards_agree_with_torchvision(arch: str) -> None:
    published = find_architecture(arch).torchvision
    if published is None:
        return
    card = find_card(f"{arch}/dense@torchvision")
    weights = get_weight(published.entry)
    preset = weights.transforms()
    assert card.upstream_accuracy == pytest.approx(
        weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, abs=1e-6
    )
    assert [card.preprocessing.size] == preset.crop_size
    assert [card.preprocessing.resize] == preset.resize_size
    assert card.preprocessing.interpolation == preset.interpolation.value
    assert list(card.preprocessing.mean) == preset.mean
    assert list(card.preprocessing.std) == preset.std


@pytest.mark.parametrize(
    "failure",
    [
        URLError("[Errno -2] Name or service not known"),
        TimeoutError("timed out"),
        RuntimeError('invalid hash value (expected "f37072fd", got "00000000")'),
        PermissionError(13, "Permission denied"),
    ],
)
def test_weights_out_of_reach_are_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(self: WeightsEnum, *args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fail)
    with pytest.raises(SparsebenchError, match="could not be loaded") as caught:
        load_backbone("resnet18/magnitude-90@torchvision")
    assert "resnet18-f37072fd.pth" in caught.value.fix
    assert "resnet18/dense@generated" in caught.value.fix
    assert "\n" not in str(caught.value)


def test_downloaded_weights_load_and_say_nothing_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    original = resnet18(weights=None)

    def download(self: WeightsEnum, *args: Any, **kwargs: Any) -> Any:
        print("Downloading ...")
        return original.state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", download)
    backbone = load_backbone("resnet18/magnitude-50@torchvision")
    assert capsys.readouterr().out == ""
    assert backbone.measured_sparsity == pytest.approx(0.5, abs=1e-6)
    assert backbone.card.dense_partner == "resnet18/dense@torchvision"
    assert backbone.card.trained
