"""The logic around torchvision's data sets, with stand-ins for data and network."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.tasks import open_task, torchvision_sets
from models.errors import SparsebenchError

NAMES = [f"class {n}" for n in range(10)]


class StandIn:
    """Data as torchvision gives it, present once it was downloaded."""

    url = "https://pictures.invalid/set.tar.gz"
    mirrors = ("https://pictures.invalid/",)
    present = False
    breaks = False

    def __init__(self, root: Path, train: bool, download: bool = False) -> None:
        cls = type(self)
        if download and cls.breaks:
            raise RuntimeError("File not found or corrupted.")
        cls.present |= download
        if not cls.present:
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        count = 40 if train else 20
        generator = np.random.default_rng(train)
        self.data: Any = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        self.targets: Any = [n % 10 for n in range(count)]
        self.classes = NAMES


class GreyStandIn(StandIn):
    def __init__(self, root: Path, train: bool, download: bool = False) -> None:
        super().__init__(root, train, download)
        self.data = torch.from_numpy(self.data[:, :28, :28, 0].copy())
        self.targets = torch.tensor(self.targets)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (StandIn, GreyStandIn):
        monkeypatch.setattr(cls, "present", False)
        monkeypatch.setattr(cls, "breaks", False)
    monkeypatch.setattr("torchvision.datasets.CIFAR10", StandIn)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", GreyStandIn)


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_pictures_labels_and_split_are_torchvisions(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = StandIn if name == "cifar10" else GreyStandIn
    monkeypatch.setattr(cls, "present", True)
    task = open_task(name, tmp_path)
    assert (len(task.train), len(task.test)) == (40, 20)
    assert task.classes == tuple(NAMES)
    theirs = cls(tmp_path, train=False)
    pixels = np.asarray(task.read("test", 3))
    expected = np.asarray(theirs.data[3])
    assert np.array_equal(pixels if expected.ndim == 3 else pixels[:, :, 0], expected)
    assert task.test.labels.tolist() == [n % 10 for n in range(20)]


def test_a_missing_set_is_fetched_when_the_server_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_sets, "_knock", lambda url: None)
    assert len(open_task("cifar10", tmp_path).train) == 40


def test_without_permission_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match=r"not in .*170 MB"):
        open_task("cifar10", tmp_path, download=False)


def test_offline_is_said_at_once_with_the_way_out(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(SparsebenchError, match="cannot be downloaded from here") as caught:
        open_task("cifar10", tmp_path)
    assert time.monotonic() - start < 2 * torchvision_sets.REACH_SECONDS + 5
    assert "digits" in caught.value.mend


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_sets, "REACH_SECONDS", 0.05)
    monkeypatch.setattr(torchvision_sets, "_knock", lambda url: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(SparsebenchError, match="no answer"):
        open_task("cifar10", tmp_path)
    assert time.monotonic() - start < 1.5


def test_a_download_that_breaks_off_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_sets, "_knock", lambda url: None)
    monkeypatch.setattr(StandIn, "breaks", True)
    with pytest.raises(SparsebenchError, match=r"broke off.*corrupted"):
        open_task("cifar10", tmp_path)


def test_a_server_that_refuses_the_question_still_counts_as_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import urllib.error
    from email.message import Message

    def forbidden(*args: object, **kwargs: object) -> None:
        raise urllib.error.HTTPError("u", 403, "no", Message(), None)

    monkeypatch.setattr("urllib.request.urlopen", forbidden)
    assert torchvision_sets._knock("https://pictures.invalid") is None
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: SimpleNamespace(close=int))
    assert torchvision_sets._knock("https://pictures.invalid") is None
