"""Files of other kinds and networks that the suite does not build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.fit import build_from
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sources.own_file import card_beside
from tests.models.checkpoints.tiny import network

pytestmark = pytest.mark.usefixtures("tiny_is_an_architecture")


def test_files_of_other_kinds_are_called_what_they_are(tmp_path: Path) -> None:
    scripted = tmp_path / "a.pt"
    jit: Any = torch.jit
    jit.save(jit.trace(network(), torch.zeros(1, 3, 9, 9)), str(scripted))
    with pytest.raises(SparsebenchError, match="is a TorchScript program") as caught:
        load_checkpoint(scripted)
    assert "torch.onnx.export(torch.jit.load" in caught.value.fix
    program = torch.export.export(network(), (torch.zeros(1, 3, 9, 9),))
    torch.export.save(program, tmp_path / "b.pt2")
    np.savez(tmp_path / "c.npz", w=np.ones(3))
    (tmp_path / "d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "e.pth").write_bytes(b"<!doctype html><p>Not found")
    (tmp_path / "f.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    kinds = {
        "b.pt2": "torch.export program",
        "c.npz": "NumPy arrays",
        "d.h5": "HDF5",
        "e.pth": "a web page",
        "f.pth": "Git LFS",
    }
    for name, kind in kinds.items():
        with pytest.raises(SparsebenchError, match=kind):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "whose"),
    [
        (["resnet.embedder.embedder.convolution.weight", "classifier.1.weight"], "transformers"),
        (["cls_token", "blocks.0.attn.qkv.weight", "head.weight"], "a vision transformer"),
        (["class_token", "conv_proj.weight", "heads.head.weight"], "a vision transformer"),
        (["vit.embeddings.cls_token", "vit.layernorm.weight"], "transformers"),
    ],
)
def test_networks_that_the_suite_does_not_build_are_sent_to_onnx(
    tmp_path: Path, names: list[str], whose: str
) -> None:
    torch.save({name: torch.ones(4, 4) for name in names}, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match=whose) as caught:
        build_from("tiny", load_checkpoint(tmp_path / "a.pth"), tmp_path / "a.pth")
    assert "torch.onnx.export" in caught.value.fix
    found = inspect_target(str(tmp_path / "a.pth"))
    assert whose in found.unknown[0] and "torch.onnx.export" in found.facts["to run it"]


def test_parts_of_a_network_are_called_so(tmp_path: Path) -> None:
    """Seen: "holds no classifier", of the first half of a whole network; its index "a card"."""
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"fc.weight": "model-00001-of-00002.safetensors"}}')
    part = tmp_path / "model-00001-of-00002.pth"
    torch.save({"fc.weight": torch.ones(4, 4)}, part)
    for path, what in ((part, "is part 1 of 2 of a network"), (index, "a list of a network's")):
        with pytest.raises(SparsebenchError, match=what) as caught:
            load_checkpoint(path)
        assert "Join the parts" in caught.value.fix
        assert card_beside(path) is None
