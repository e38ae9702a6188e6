"""The paper's checkpoints, from a folder of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.sources.paper import PAPER, file_of, name_of
from sparsebench.models.sources.paper_list import PUBLISHED
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone
from tests.models.checkpoints import published as make


def test_cards_need_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSEBENCH_PAPER", raising=False)
    card = find_card("resnet50/acdc-90@paper")
    assert (card.family, card.upstream_accuracy) == ("regularization", 0.7503)
    assert card.dense_partner == "resnet50/dense@paper"
    assert find_card(card.dense_partner).family == "dense"
    assert "seafile" in card.notes
    rigl = find_card("resnet50/rigl_erk_5x-90@paper")
    assert (rigl.arch, rigl.preprocessing.interpolation) == ("resnet50_rigl", "bicubic")
    assert (rigl.upstream_accuracy, rigl.dense_partner) == (0.759, "resnet50/dense@paper")
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet50/acdc-9"):
        find_card("resnet50/acdc-91@paper")


def test_every_card_is_found_under_its_name_and_has_a_dense_partner() -> None:
    cards = PAPER.list_cards()
    names = {card.name for card in cards}
    assert len(names) == len(cards) == len(PUBLISHED)
    for card in cards:
        assert find_card(card.name) == card
        assert card.dense_partner in names


def test_what_is_missing_is_said_with_where_it_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARSEBENCH_PAPER", raising=False)
    with pytest.raises(SparsebenchError, match=r"no folder.*seafile.*acdc_95\.pth.*SPARSEBENCH_"):
        load_backbone("resnet50/acdc-95@paper")
    monkeypatch.setenv("SPARSEBENCH_PAPER", str(tmp_path))
    with pytest.raises(SparsebenchError, match="is not in '.*published at"):
        load_backbone("resnet50/acdc-95@paper")


def test_a_file_in_the_folder_loads_and_must_be_as_sparse_as_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make.sparse("mobilenet_v1")  # 80 % zeros
    payload = make.common(make.wrapped(module), "mobilenet")
    (tmp_path / "mobilenet_v1").mkdir()
    torch.save(payload, tmp_path / "mobilenet_v1" / "acdc_75.pth")
    torch.save(payload, tmp_path / "acdc_90.ckpt")
    monkeypatch.setenv("SPARSEBENCH_PAPER", str(tmp_path))
    found = {
        (one.method, one.sparsity): file_of(one) for one in PUBLISHED if one.arch != "resnet50"
    }
    assert found["acdc", 0.75] is not None and found["acdc", 0.9] is not None
    assert found["acdc", 0.3] is None and found["str", 0.9] is None
    with pytest.raises(SparsebenchError, match=r"acdc_90\.ckpt' is 80\.0% sparse"):
        load_backbone("mobilenet_v1/acdc-90@paper")
    (tmp_path / "mobilenet_v1" / "acdc_75.pth").rename(tmp_path / "mobilenet_v1" / "x.pth")
    with pytest.raises(SparsebenchError, match="is not in"):
        load_backbone("mobilenet_v1/acdc-75@paper")


def test_a_published_layout_loads_as_a_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make.sparse("mobilenet_v1")
    torch.save(make.common(make.wrapped(module), "mobilenet"), tmp_path / "mfac_80.pth")
    from sparsebench.models.sources import paper, paper_list

    one = paper_list.Published(
        "mobilenet_v1", "mfac", "progressive", 0.8, ("mfac_80",), 0.7, "somewhere", "mobilenet_v1"
    )
    monkeypatch.setattr(paper, "PUBLISHED", (*PUBLISHED, one))
    monkeypatch.setenv("SPARSEBENCH_PAPER", str(tmp_path))
    backbone = load_backbone("mobilenet_v1/mfac-80@paper")
    assert backbone.measured_sparsity == pytest.approx(0.8, abs=1e-3)
    assert backbone.card.upstream_accuracy == 0.7


def test_of_two_files_of_str_the_one_without_label_smoothing_is_the_paper_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_PAPER", str(tmp_path))
    (published,) = [p for p in PUBLISHED if name_of(p) == "resnet50/str-80@paper"]
    for stem in ("str_80", "str_80_noLS"):
        (tmp_path / f"{stem}.pth").touch()
        found = file_of(published)
        assert found is not None and found.stem == stem  # the second comes before the first
