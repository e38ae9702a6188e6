"""A maintainer adds a method: one file, and one line where methods are listed.

The file is written here as a maintainer would write it, outside this repository, and named
to the registry as its entry point would name it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.images.labelled import ReadOptions
from sparsebench.models.masks import mask_of_arrays, sparsity
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.produce import sparsify
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone
from tests.bench.conftest import Result, cli  # noqa: F401
from tests.models.sparsify.tiny import SIZE, write_folder

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")

FILE = '''
"""Random pruning at the start: the floor that every method must beat."""

import torch

from sparsebench.models.sparsify.method import Method


class RandomAtStart(Method):
    """Remove weights at random, once, before the first step."""

    name = "random_start"
    family = "regularization"
    source = "nobody's paper"

    def on_start(self, run):
        generator = torch.Generator().manual_seed(run.seed)
        for name, weight in run.weights.items():
            order = torch.randperm(weight.numel(), generator=generator)
            mask = torch.ones(weight.numel(), dtype=torch.bool)
            mask[order[: round(self.sparsity * weight.numel())]] = False
            self.masks[name] = mask.view_as(weight)
        self.apply(run)
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package" / "random_start.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    METHODS.register("random_start", "their_package.random_start:RandomAtStart")
    yield
    del METHODS._targets["random_start"]
    sys.modules.pop("their_package.random_start", None)


@pytest.mark.usefixtures("added")
def test_a_method_in_one_file_is_trained_written_listed_and_loaded(
    tmp_path: Path,
    cli: Callable[..., Result],  # noqa: F811
) -> None:
    data = write_folder(tmp_path / "data")
    out = tmp_path / "mine.safetensors"
    made = sparsify(
        "tiny", "random_start", 0.75, data, 2, out, size=SIZE, reading=ReadOptions(tmp_path / "c")
    )
    assert made.sparsity == pytest.approx(0.75, abs=0.001)

    listed = cli("list", "methods")
    assert "random_start" in listed.out
    assert "nobody's paper" in listed.out

    card = find_card(str(out))  # the file alone says what it is
    assert (card.arch, card.method, card.sparsity) == ("tiny", "random_start", 0.75)
    backbone = load_backbone(str(out))
    weights = {n: p for n, p in backbone.module.named_parameters() if n in backbone.mask}
    assert sparsity(mask_of_arrays(weights)) == made.sparsity
