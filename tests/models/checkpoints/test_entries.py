"""Which of a checkpoint's entries are read: averages, choices, networks deep inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from sparsebench.models.checkpoints import load_checkpoint, split_entry
from sparsebench.models.errors import SparsebenchError
from tests.models.checkpoints.tiny import State, network, read, same

pytestmark = pytest.mark.usefixtures("tiny_is_an_architecture")


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


def test_a_state_dict_in_a_list_is_found(tmp_path: Path) -> None:
    assert same(read(tmp_path / "a.pth", (network().state_dict(), {"epoch": 3}))[0], network())


def test_arrays_of_numpy_are_called_so(tmp_path: Path) -> None:
    """Seen: "a pickle of more than 500,000 steps"."""
    for side, told in ((9, "holds arrays of NumPy"), (5000, "in its pickle, as arrays of NumPy")):
        torch.save({"fc.weight": np.full((side, side), 200, np.uint8)}, tmp_path / "a.pth")
        with pytest.raises(SparsebenchError, match=told):
            load_checkpoint(tmp_path / "a.pth")
