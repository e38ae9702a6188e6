"""What a file says of itself may be nested without end: then it says nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from sparsebench.bench.heads.own_head import _classes_of
from sparsebench.models.sources.own_file import _within

DEEP = "[" * 100_000 + "]" * 100_000
SAID = {
    "arch": "resnet18", "method": "gmp", "sparsity": "0.9", "preprocessing": DEEP,
    "classes": DEEP, "budget": DEEP, "num_classes": "10", "upstream_accuracy": "0.5",
    "upstream_data": "images",
}  # fmt: skip


def test_deep_metadata_names_no_classes_and_no_card(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file({"weight": torch.ones(2)}, path, metadata=SAID)
    assert _classes_of(path) == []
    assert _within(path) is None
