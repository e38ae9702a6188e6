from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.card_file import read_card
from sparsebench.models.cards import Budget
from sparsebench.models.checkpoints.compact import load_compact, save_compact
from sparsebench.models.errors import SparsebenchError
from sparsebench.results.scripts.ship import ship
from tests.models.sparsify.tiny import run_plan, write_folder

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")


def test_a_finished_file_becomes_a_backbone_with_a_card(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'arch = "tiny"\nmethod = "acdc"\nsparsity = 0.9\nepochs = 3\nsize = 8\n'
        "[recipe]\nbatch_size = 8\n"
    )
    data = write_folder(tmp_path / "bright-and-dark")
    made = run_plan(plan, data, tmp_path / "out.safetensors", tmp_path / "cache")
    card = ship(made.path, "research use", "small", folder=tmp_path / "zoo")

    weights = tmp_path / "zoo" / "tiny-acdc-90.safetensors"
    again, where = read_card(tmp_path / "zoo" / "tiny-acdc-90.json", "zoo")
    assert again == card
    assert where is not None
    assert where.file == weights.name
    assert card.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (card.name, card.family, card.dense_partner) == (
        "tiny/acdc-90",
        "regularization",
        "tiny/dense",
    )
    assert card.upstream_accuracy == pytest.approx(made.accuracy, abs=1e-4)
    assert card.upstream_data == "bright-and-dark, test split (8 images, 2 classes)"
    assert card.preprocessing == made.preprocessing
    assert card.num_classes == 2
    assert card.budget == Budget(epochs=3, images=3 * len(list((data / "train").glob("*/*"))))
    one, two = load_compact(weights)[0], load_compact(made.path)[0]
    assert all(torch.equal(one[k], two[k]) for k in two)


def test_a_file_that_says_nothing_of_its_training_is_refused(tmp_path: Path) -> None:
    save_compact(tmp_path / "bare.safetensors", {"w": torch.ones(2)}, {"arch": "tiny"})
    with pytest.raises(SparsebenchError, match="does not say how it was trained"):
        ship(tmp_path / "bare.safetensors", "research use", folder=tmp_path / "zoo")
