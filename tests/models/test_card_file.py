import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsebench.models.card_file import SCHEMA, Weights, read_card, write_card
from sparsebench.models.cards import FAMILIES, IMAGENET_PREPROCESSING, Budget, Card, Preprocessing
from sparsebench.models.errors import SparsebenchError

unit = st.floats(0.001, 1)
channels = st.tuples(unit, unit, unit)
preprocessings = st.builds(
    Preprocessing,
    size=st.integers(1, 256),
    resize=st.integers(256, 512),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    mean=channels,
    std=channels,
)
cards = st.builds(
    Card,
    name=st.just("resnet18/acdc-90"),
    arch=st.just("resnet18"),
    method=st.just("acdc"),
    family=st.sampled_from(FAMILIES),
    sparsity=st.just(0.9),
    preprocessing=preprocessings,
    source=st.just("zoo"),
    sha256=st.just("0" * 64),
    licence=st.text(max_size=20),
    upstream_accuracy=st.none() | st.floats(0, 1),
    upstream_data=st.none() | st.text(max_size=20),
    trained=st.booleans(),
    dense_partner=st.just("resnet18/dense"),
    notes=st.text(max_size=20),
    num_classes=st.integers(1, 1000),
    budget=st.none() | st.builds(Budget, st.integers(1, 99), st.integers(1, 10**9)),
)


@given(card=cards)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_card_survives_its_file(tmp_path: Path, card: Card) -> None:
    weights = Weights("a.safetensors", card.sha256)
    write_card(tmp_path / "a.json", card, weights)
    assert read_card(tmp_path / "a.json", "zoo") == (card, weights)


def minimal(**more: Any) -> dict[str, Any]:
    return {"schema": SCHEMA, "name": "resnet18/acdc-90", **more}


def write(folder: Path, content: Any) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return path


def test_what_a_card_leaves_out_has_defaults(tmp_path: Path) -> None:
    card, weights = read_card(write(tmp_path, minimal()), "here")
    assert weights is None
    assert (card.arch, card.method, card.sparsity, card.source) == ("resnet18", "acdc", 0.9, "here")
    assert card.preprocessing == IMAGENET_PREPROCESSING
    assert (card.family, card.trained, card.dense_partner) == ("unknown", True, "resnet18/dense")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1], "not a JSON object"),
        ({"name": "resnet18/dense"}, "schema"),
        (minimal(schema="sparsebench.card/2"), "schema"),
        (minimal(acuracy=0.5), "'acuracy' is unknown"),
        ({"schema": SCHEMA}, "'name'"),
        (minimal(name=3), "'name'"),
        (minimal(name="resnet18/acdc-900"), "outside 0 to 100"),
        (minimal(name="resnet99/acdc-90"), "architecture"),
        (minimal(family="magic"), "family"),
        (minimal(upstream_accuracy=76.1), "within 0..1"),
        (minimal(upstream_accuracy="0.7"), "upstream_accuracy"),
        (minimal(num_classes=0), "num_classes"),
        (minimal(num_classes=True), "num_classes"),
        (minimal(trained="yes"), "trained"),
        (minimal(dense_partner="dense"), "is not a valid backbone name"),
        (minimal(preprocessing={"crop": 3}), r"preprocessing\.crop"),
        (minimal(preprocessing={"size": 300}), "cuts out 300"),
        (minimal(preprocessing={"resize": 10**9}), "resizes"),
        (minimal(preprocessing={"interpolation": "nearest"}), "interpolation"),
        (minimal(preprocessing={"mean": [0.5, 0.5]}), "mean"),
        (minimal(preprocessing={"mean": [0.5, 0.5, "0"]}), "mean"),
        (minimal(preprocessing={"std": [0.5, 0.5, 0.0]}), "std"),
        (minimal(preprocessing={"std": [127, 127, 127]}), "std"),
        (minimal(weights={"file": "../../etc/passwd"}), "outside its folder"),
        (minimal(weights={"file": "/etc/passwd"}), "outside its folder"),
        (minimal(budget={"epochs": 3}), "budget"),
        (minimal(budget={"epochs": 3, "images": 0}), "budget"),
        (minimal(budget={"epochs": 3, "images": True}), "budget"),
        (minimal(weights={"path": "a"}), "weights"),
        (minimal(weights={}), "'file'"),
    ],
)
def test_a_wrong_card_names_its_file_and_its_key(
    tmp_path: Path, content: Any, complaint: str
) -> None:
    with pytest.raises(SparsebenchError, match=complaint):
        read_card(write(tmp_path, content), "here")


def test_a_card_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(SparsebenchError, match=r"a\.json"):
        read_card(tmp_path / "a.json", "here")
