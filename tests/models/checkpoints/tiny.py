"""A tiny network as checkpoints hold it, for the tests of what stands around its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.fit import build_from
from tests.models.checkpoints.test_state_dict import Tiny

State = dict[str, Tensor]


def network(seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    return Tiny(5).eval()


def read(path: Path, payload: Any, entry: str | None = None) -> tuple[Any, dict[str, str]]:
    torch.save(payload, path)
    checkpoint = load_checkpoint(path, entry)
    module = build_from("tiny", checkpoint, path)
    return module, checkpoint.metadata


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items()
    )


def masks() -> State:
    generator = torch.Generator().manual_seed(3)
    shapes = {"conv1.weight": (16, 3, 3, 3), "fc.weight": (5, 16)}
    return {n: (torch.rand(s, generator=generator) < 0.1).float() for n, s in shapes.items()}
