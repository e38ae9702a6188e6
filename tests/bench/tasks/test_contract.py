"""What every registered task keeps, those of other packages included."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from sparsebench.bench.tasks import TASKS, open_task
from sparsebench.bench.tasks.base import METRICS, Task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.registry import load_target
from tests.bench.tasks import miniatures


@pytest.fixture(autouse=True)
def _miniatures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets that would have to be fetched are in the data folder, in miniature."""
    if "tmp_path" not in request.fixturenames:
        return
    name, data = request.node.callspec.params["name"], request.getfixturevalue("tmp_path") / "data"
    miniatures.small_facts(monkeypatch)
    if name in miniatures.PAPER:
        miniatures.PAPER[name](data)
    elif name.startswith("cifar"):
        miniatures.cifar(name, data, monkeypatch)
    elif name == "fashion-mnist":
        miniatures.fashion(data)


def opened(name: str, folder: Path) -> Task:
    """The task, or a skip where its data are not on this machine."""
    try:
        return open_task(name, folder / "data", cache=folder / "cache", download=False)
    except SparsebenchError as error:
        assert error.fix, f"{name} says what is wrong but not what to do: {error}"
        pytest.skip(str(error))


@pytest.mark.parametrize("name", list(TASKS))
def test_a_builder_describes_itself_in_one_line(name: str) -> None:
    first = load_target(TASKS.target(name)).__doc__.strip().splitlines()[0]
    assert 10 < len(first) <= 100


@pytest.mark.parametrize("name", list(TASKS))
def test_a_task_is_complete_and_the_same_every_time(name: str, tmp_path: Path) -> None:
    task = opened(name, tmp_path)
    again = opened(name, tmp_path)
    assert task.name == name
    assert task.metric in METRICS
    assert len(task.classes) >= 2
    assert len(set(task.classes)) == len(task.classes)
    for side in ("train", "test"):
        split = task.split(side)
        assert split.labels.dtype == np.int64
        assert set(split.labels.tolist()) == set(range(len(task.classes)))
        image = task.read(side, 0)
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(again.read(side, 0)))
    assert len(task.sha256) == 64
    assert task.sha256 == again.sha256
    assert not set(task.train.items) & set(task.test.items)


@pytest.mark.parametrize("name", list(TASKS))
def test_images_can_be_read_in_another_process(name: str, tmp_path: Path) -> None:
    task = opened(name, tmp_path)
    copy = pickle.loads(pickle.dumps(task))
    assert np.array_equal(np.asarray(copy.read("test", 1)), np.asarray(task.read("test", 1)))
