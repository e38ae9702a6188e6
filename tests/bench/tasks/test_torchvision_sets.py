"""CIFAR and Fashion-MNIST: real files in miniature, a real server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsebench.bench.tasks import download, open_task
from sparsebench.bench.tasks.known_tasks import FACTS
from sparsebench.models.errors import SparsebenchError
from tests.bench.tasks import miniatures
from tests.bench.tasks.server import Server, serving

CIFARS = ("cifar10", "cifar100")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    with serving({}) as one:
        yield one


def their(name: str) -> Any:
    from torchvision import datasets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def serve_cifar(name: str, server: Server, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    miniatures.cifar(name, made, monkeypatch)
    cls, buffer = their(name), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(made / cls.base_folder, cls.base_folder)
    data = server.files[f"/{cls.filename}"] = buffer.getvalue()
    monkeypatch.setattr(cls, "url", f"{server.url}/{cls.filename}")
    monkeypatch.setattr(cls, "tgz_md5", hashlib.md5(data).hexdigest())


@pytest.mark.parametrize("name", CIFARS)
def test_images_labels_and_split_are_torchvisions(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniatures.cifar(name, tmp_path, monkeypatch)
    task = open_task(name, tmp_path)
    for side in ("train", "test"):
        theirs = their(name)(tmp_path, train=side == "train")
        assert task.classes == tuple(theirs.classes)
        assert task.split(side).labels.tolist() == theirs.targets
        for index in (0, len(theirs) - 1):
            assert np.array_equal(np.asarray(task.read(side, index)), np.asarray(theirs[index][0]))


@pytest.mark.parametrize("name", CIFARS)
def test_a_missing_set_is_fetched(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_cifar(name, server, tmp_path / "made", monkeypatch)
    said: list[str] = []
    task = open_task(name, tmp_path / "data", say=said.append)
    assert len(task.classes) == FACTS[name].classes
    assert said
    assert [path.name for path in (tmp_path / "data").iterdir()] == [their(name).base_folder]


def test_a_damaged_set_is_fetched_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_cifar("cifar10", server, tmp_path / "made", monkeypatch)
    whole = open_task("cifar10", tmp_path / "data")
    path = tmp_path / "data/cifar-10-batches-py/data_batch_2"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SparsebenchError, match="is damaged"):
        open_task("cifar10", tmp_path / "data", download=False)
    assert open_task("cifar10", tmp_path / "data").sha256 == whole.sha256


def test_a_download_that_breaks_off_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_cifar("cifar10", server, tmp_path / "made", monkeypatch)
    server.cuts = [5000, 0, 0, 0]
    with pytest.raises(SparsebenchError, match="broke off"):
        open_task("cifar10", tmp_path / "data")
    server.asked.clear()
    open_task("cifar10", tmp_path / "data")
    assert server.asked == ["/cifar-10-python.tar.gz bytes=5000-"]


def test_fashion_mnist_is_fetched_and_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import FashionMNIST

    raw = miniatures.fashion(tmp_path / "made")
    resources = []
    for file, _ in FashionMNIST.resources:
        data = server.files[f"/{file}"] = gzip.compress((raw / file[:-3]).read_bytes())
        resources.append((file, hashlib.md5(data).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"{server.url}/"])
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    task = open_task("fashion-mnist", tmp_path / "data")
    theirs = FashionMNIST(str(tmp_path / "data"), train=False)
    assert (len(task.train), len(task.test)) == (40, 20)
    assert task.test.labels.tolist() == [n % 10 for n in range(20)]
    assert np.array_equal(np.asarray(task.read("test", 3))[:, :, 0], theirs.data[3].numpy())


def test_without_permission_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match=r"is not there.*170 MB"):
        open_task("cifar10", tmp_path, download=False)


def test_offline_is_said_at_once_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(their("cifar10"), "url", "https://pictures.invalid/set.tar.gz")
    start = time.monotonic()
    with pytest.raises(SparsebenchError, match="cannot be downloaded from here") as caught:
        open_task("cifar10", tmp_path)
    assert time.monotonic() - start < 2 * download.REACH_SECONDS + 5
    assert "digits" in caught.value.fix
