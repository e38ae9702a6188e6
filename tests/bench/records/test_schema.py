"""The schemas hold every key of the contract, and what is written satisfies them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import sparsebench.results as results
from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.records import Accuracy, Comparison, Record, Trial, cell_id, utc_now
from sparsebench.bench.records.plain import plain
from sparsebench.bench.records.schema import CURRENT, Kind, load_schema, upgraded, validate
from sparsebench.models.errors import SparsebenchError
from tests.bench.synthetic import SyntheticRun, make_run

# The contract, key by key.
RECORD = {
    "": "schema id run created status reason workload task backbone engine trials accuracy proof "
    "machine packages",
    "task": "name classes train test metric sha256",
    "backbone": "name arch method family sparsity measured_sparsity flops_ratio trained sha256 "
    "licence",
    "engine": "name version device precision threads batch_size options supported_fraction",
    "accuracy": "metric per_seed mean ci95",
    "proof": "checkpoint_mask onnx_mask after_training_mask max_abs_error argmax_agreement",
    "machine": "fingerprint",
}
TRIAL = "block order warmup seconds items stages"
COMPARISON = {
    "": "sparse dense speedup total accuracy_delta relative_error_increase effects amdahl_bound "
    "efficiency verdict",
    "speedup": "median ci95 blocks",
    "total": "median ci95",
    "accuracy_delta": "mean ci95",
    "effects": "engine sparsity precision",
}
KINDS: tuple[Kind, ...] = ("trial", "record", "comparison")


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return make_run(blocks=2, failed={("inference", "resnet18/acdc-90", "torch")})


def required_keys(schema: dict[str, Any], path: str) -> set[str]:
    for step in filter(None, path.split(".")):
        schema = schema["properties"][step]
    return set(schema["required"])


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_valid_json_schema_and_lies_with_the_results(kind: Kind) -> None:
    Draft202012Validator.check_schema(load_schema(kind, CURRENT[kind]))
    folder = Path(results.__path__[0]) / "schema"
    assert (folder / f"{kind}.v{CURRENT[kind]}.json").is_file()


@pytest.mark.parametrize("path", RECORD)
def test_record_requires_every_key_of_the_contract(path: str) -> None:
    assert required_keys(load_schema("record", 1), path) >= set(RECORD[path].split())


def test_trials_of_a_record_require_every_key_of_the_contract() -> None:
    trials = load_schema("record", 1)["properties"]["trials"]
    assert set(trials["items"]["required"]) >= set(TRIAL.split())


@pytest.mark.parametrize("path", COMPARISON)
def test_comparison_requires_every_key_of_the_contract(path: str) -> None:
    assert required_keys(load_schema("comparison", 1), path) >= set(COMPARISON[path].split())


def test_what_is_made_is_valid_and_survives_json(run: SyntheticRun) -> None:
    for record in run.records:
        line = record.to_json()
        validate("record", line, "here")
        assert Record.from_json(line) == record
    for trial in run.trials:
        validate("trial", trial.to_json(), "here")
        assert Trial.from_json(trial.to_json()) == trial
    for comparison in compare_run(run.records, run.trials):
        validate("comparison", comparison.to_json(), "here")
        assert Comparison.from_json(comparison.to_json()) == comparison


def test_failed_record_is_valid_with_what_it_knows() -> None:
    record = make_run(blocks=1).records[0]
    backbone = replace(record.backbone, measured_sparsity=None, flops_ratio=None, sha256=None)
    engine = replace(record.engine, version=None, supported_fraction=None)
    failed = replace(
        record, status="failed", reason="no library", trials=(), accuracy=None, proof=None,
        backbone=backbone, engine=engine,
    )  # fmt: skip
    validate("record", failed.to_json(), "here")
    assert failed.to_json()["accuracy"] is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"status": "broken"}, "status"),
        ({"status": "failed", "reason": None}, "reason"),
        ({"trials": []}, "trials"),
        ({"backbone": {"name": "x"}}, "backbone"),
        ({"accuracy": {"metric": "top1", "per_seed": [91.2], "mean": 91.2, "ci95": None}}, "91.2"),
        ({"machine": {}}, "fingerprint"),
        ({"created": "yesterday"}, "created"),
    ],
)
def test_record_against_the_schema_is_refused(change: dict[str, Any], place: str) -> None:
    line = make_run(blocks=1).records[0].to_json() | change
    with pytest.raises(SparsebenchError, match=place):
        validate("record", line, "records.jsonl, line 4")


@pytest.mark.parametrize(
    "change", [{"seconds": []}, {"seconds": [-1.0]}, {"items": 0}, {"accuracy_per_seed": [1.5]}]
)
def test_trial_without_sense_is_refused(change: dict[str, Any]) -> None:
    line = make_run(blocks=1).trials[0].to_json() | change
    with pytest.raises(SparsebenchError, match=r"trials\.jsonl, line 2"):
        validate("trial", line, "trials.jsonl, line 2")


def test_newer_schema_is_named_and_older_or_foreign_ones_are_told_apart() -> None:
    line = make_run(blocks=1).records[0].to_json()
    with pytest.raises(SparsebenchError, match=r"newer sparsebench: record\.v2.*record\.v1"):
        upgraded("record", line | {"schema": "record.v2"}, "here")
    for other in ("trial.v1", "record", None, 1):
        with pytest.raises(SparsebenchError, match="is not a valid record"):
            upgraded("record", line | {"schema": other}, "here")


def test_key_that_a_later_writer_added_does_not_hurt() -> None:
    line = copy.deepcopy(make_run(blocks=1).records[0].to_json())
    line["colour"] = "blue"
    line["backbone"]["colour"] = "green"
    assert Record.from_json(upgraded("record", line, "here")).backbone.arch == "resnet18"


def test_accuracy_of_seeds() -> None:
    accuracy = Accuracy.of("top1", np.array([0.9, 0.92]), [1, 2])
    assert accuracy.mean == pytest.approx(0.91)
    assert accuracy.ci95 is not None
    # t with one degree of freedom: 12.706 standard errors of 0.01
    assert accuracy.ci95[1] - accuracy.mean == pytest.approx(0.12706, rel=1e-4)
    assert Accuracy.of("top1", [0.9]).ci95 is None


def test_plain_json_from_numpy_tuples_paths_and_infinities() -> None:
    value = {
        "a": np.float32(0.5),
        "b": (np.int64(3), Path("x")),
        "c": float("inf"),
        "d": np.ones(2),
    }
    assert plain(value) == {"a": 0.5, "b": [3, "x"], "c": None, "d": [1.0, 1.0]}
    with pytest.raises(TypeError, match="object"):
        plain({"e": object()})


def test_cell_id_depends_on_values_only() -> None:
    settings = {"backbone": "resnet18/acdc-90", "threads": 2, "seeds": (1, 2), "options": {"a": 1}}
    shuffled = {
        "options": {"a": 1.0},
        "seeds": [1, 2],
        "threads": 2,
        "backbone": "resnet18/acdc-90",
    }
    assert cell_id(settings) == cell_id(shuffled)
    assert cell_id(settings) != cell_id(settings | {"threads": 4})
    # the canonical JSON of {"a": 1} through sha256sum
    assert cell_id({"a": 1}) == "015abd7f5cc5"


def test_now_fits_the_schema() -> None:
    line = make_run(blocks=1).records[0].to_json()
    validate("record", line | {"created": utc_now()}, "here")
