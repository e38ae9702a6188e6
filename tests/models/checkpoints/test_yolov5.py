"""YOLOv5's files, from a network with its names that is written here from its description."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.fit import build_from, matching_architectures
from sparsebench.models.detection.head import Detector
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sources.own_file import name_of_file

CLASSES = 3


class Conv(nn.Module):
    def __init__(self, i: int, o: int, k: int = 1, s: int = 1, p: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, s, k // 2 if p is None else p, bias=False)
        self.bn = nn.BatchNorm2d(o, eps=1e-3)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Any:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int, add: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c), Conv(c, c, 3), add

    def forward(self, x: Tensor) -> Any:
        return x * self.add + self.cv2(self.cv1(x))


class C3(nn.Module):
    def __init__(self, i: int, o: int, n: int, add: bool = True) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(i, o // 2), Conv(i, o // 2), Conv(o, o)
        self.m = nn.Sequential(*(Bottleneck(o // 2, add) for _ in range(n)))

    def forward(self, x: Tensor) -> Any:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.m = Conv(c, c // 2), Conv(2 * c, c), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Any:
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(self.m(y[-1]))
        return self.cv2(torch.cat(y, 1))


class Detect(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(c, 3 * (5 + CLASSES), 1) for c in (64, 128, 256))
        sizes = torch.arange(1.0, 19.0).reshape(3, 3, 2)
        self.register_buffer("anchors", sizes)


FROM = {12: (-1, 6), 16: (-1, 4), 19: (-1, 14), 22: (-1, 10)}


class Model(nn.Module):
    """Width 0.25, depth 0.33; layers by their numbers, -1 being the one before."""

    def __init__(self) -> None:
        super().__init__()
        up = nn.Upsample(scale_factor=2)
        self.model = nn.Sequential(
            Conv(3, 16, 6, 2, 2), Conv(16, 32, 3, 2), C3(32, 32, 1), Conv(32, 64, 3, 2),
            C3(64, 64, 2), Conv(64, 128, 3, 2), C3(128, 128, 3), Conv(128, 256, 3, 2),
            C3(256, 256, 1), SPPF(256), Conv(256, 128), up, nn.Identity(), C3(256, 128, 1, False),
            Conv(128, 64), up, nn.Identity(), C3(128, 64, 1, False), Conv(64, 64, 3, 2),
            nn.Identity(), C3(128, 128, 1, False), Conv(128, 128, 3, 2), nn.Identity(),
            C3(256, 256, 1, False), Detect(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> list[Tensor]:
        seen: list[Tensor] = []
        for number, layer in enumerate(self.model[:-1]):
            if number in FROM:
                x = torch.cat([seen[i] for i in FROM[number]], 1)
            x = layer(x)
            seen.append(x)
        layers: Any = self.model[-1].m
        return [layer(seen[i]) for layer, i in zip(layers, (17, 20, 23), strict=True)]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """A trained-looking network whose classes lie where its authors' do, until it is written."""
    places = {"models.yolo": (Model, Detect), "models.common": (Conv, Bottleneck, C3, SPPF)}
    monkeypatch.setitem(sys.modules, "models", types.ModuleType("models"))
    for name, kinds in places.items():
        place = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, place)
        for kind in kinds:
            monkeypatch.setattr(kind, "__module__", name)
            setattr(place, kind.__name__, kind)
    torch.manual_seed(0)
    made = Model()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.randn(part.num_features) * 0.1
            part.running_var = torch.rand(part.num_features) + 0.5
    yield made.eval()


@pytest.mark.parametrize("kind", ["state dict", "pickled", "pickled in half"])
def test_a_file_becomes_the_same_network(kind: str, model: Model, tmp_path: Path) -> None:
    path, half = tmp_path / "best.pt", kind.endswith("half")
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        expected = model(images)
    if kind == "state dict":
        torch.save(model.state_dict(), path)
    else:
        kept = model.half() if half else model
        torch.save({"epoch": 3, "model": kept, "ema": None, "optimizer": None}, path)
    for name in ("models.yolo", "models.common", "models"):
        del sys.modules[name]  # reading needs none of them
    loaded = load_checkpoint(path)
    assert loaded.format == "yolov5"
    assert matching_architectures(loaded.state_dict) == ["yolov5n"]
    module = build_from("yolov5n", loaded, path)
    assert isinstance(module, Detector) and module.head is not None
    with torch.inference_mode():
        found = module.head(module.maps(images))
    for one, other in zip(found, expected, strict=True):
        most = float(other.abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=(2e-2 if half else 1e-4) * most)
    # The file's anchors are in cells; the network's in pixels.
    cells = torch.arange(1.0, 19.0).reshape(3, 3, 2)
    pixels = cells * torch.tensor([8.0, 16.0, 32.0]).reshape(3, 1, 1)
    assert torch.equal(module.head.get_buffer("anchors"), pixels)
    assert str(name_of_file(str(path))) == f"yolov5n/dense@{path}"


def test_inspect_tells_of_how_many_classes_its_boxes_are(model: Model, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "best.pt")
    facts = inspect_target(str(tmp_path / "best.pt"), size=64).facts
    assert (facts["arch"], facts["boxes"]) == ("yolov5n", f"of {CLASSES} classes")


def test_a_pickled_model_that_names_other_code_is_refused(model: Model, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (exec, ("raise SystemExit('executed')",))

    torch.save({"model": model, "more": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(SparsebenchError, match="never done"):
        load_checkpoint(tmp_path / "evil.pt")


def test_what_the_modules_hold_is_never_called(model: Model, tmp_path: Path) -> None:
    """Even code that its own classes name is a placeholder that does nothing."""
    ran = []
    places = sys.modules["models.common"]

    class Trap:
        def __reduce__(self) -> Any:
            return (trap, ("x",))

    def trap(value: str) -> str:
        ran.append(value)
        return value

    trap.__module__, trap.__qualname__ = "models.common", "trap"
    places.trap = trap  # type: ignore[attr-defined]
    model.yaml = Trap()  # type: ignore[assignment]
    torch.save({"model": model}, tmp_path / "trap.pt")
    assert load_checkpoint(tmp_path / "trap.pt").format == "yolov5"
    assert ran == []


def test_an_unknown_width_is_named(model: Model, tmp_path: Path) -> None:
    tensors = model.state_dict()
    tensors["model.0.conv.weight"] = torch.zeros(80, 3, 6, 6)
    torch.save(tensors, tmp_path / "x.pt")
    with pytest.raises(SparsebenchError, match="has 80 channels; n, s, m and l have 16, 32"):
        load_checkpoint(tmp_path / "x.pt")
