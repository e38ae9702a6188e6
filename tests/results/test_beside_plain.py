"""The comparison with a plain loop, on the CPU: what a GPU will be asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sparsebench.bench.training.network import Network, load_network
from sparsebench.results.scripts.beside_plain import Asked, beside_plain
from tests.bench.training.small import DENSE

SMALL = Asked(DENSE, "cpu", "fp32", size=32, batch=4, rounds=3, steps=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_ratio_with_its_interval(precision: str) -> None:
    found = beside_plain(Asked(**{**vars(SMALL), "precision": precision}))
    assert found.blocks == 3
    assert found.ci95 is not None and 0 < found.ci95[0] <= found.median <= found.ci95[1]


def test_both_loops_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the faster one may just do less."""
    networks: list[Network] = []

    def keep(*args: Any, **kwargs: Any) -> Network:
        networks.append(load_network(*args, **kwargs))
        return networks[-1]

    monkeypatch.setattr("sparsebench.results.scripts.beside_plain.load_network", keep)
    beside_plain(SMALL)
    ours, plain = (network.module.state_dict() for network in networks)
    assert len(networks) == 2
    for name, tensor in plain.items():
        assert torch.allclose(ours[name].float(), tensor.float(), rtol=1e-3, atol=1e-4), name
