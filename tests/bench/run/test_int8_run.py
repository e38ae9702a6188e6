"""INT8 from the command line: quantized here or by the user, with an accuracy of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.comparisons.gated_ratios import gated_cells
from sparsebench.bench.decide.candidates import RunData
from sparsebench.bench.decide.study import Study
from sparsebench.bench.present.tables.cell_labels import engine_label
from sparsebench.bench.present.tables.wording import warnings
from sparsebench.exporters.onnx.quantise import quantise, tensors_to_calibrate
from sparsebench.exporters.onnx.quantise_graph import fold_batch_norm
from sparsebench.exporters.onnx.quantise_ranges import calibrate
from sparsebench.models.zoo import find_card
from tests.bench.comparisons.finding import ACDC, DENSE
from tests.bench.conftest import Result
from tests.bench.run.test_onnx_run import DENSE as DENSE_NAME
from tests.bench.run.test_onnx_run import SIDE, export, lines, small
from tests.bench.run.test_onnx_run import SPARSE as SPARSE_NAME
from tests.bench.synthetic import make_run

Cli = Callable[..., Result]


def test_int8_runs_end_to_end_beside_fp32_with_its_own_accuracy(
    tmp_path: Path, images: Path, cli: Cli
) -> None:
    words = [*small(tmp_path, images), "--backbone", SPARSE_NAME, "--workload", "linear-cached"]
    words += ["--engine", "onnxruntime", "--engine", "onnxruntime:int8", "--out", "R"]
    words[words.index("R")] = str(tmp_path / "R")
    done = cli(*words)
    assert done.code == 0, done.err
    records = lines(tmp_path / "R/records.jsonl")
    by_kind = {(r["backbone"]["method"], r["engine"]["precision"]): r for r in records}
    assert set(by_kind) == {(m, p) for m in ("dense", "uniform") for p in ("fp32", "int8")}
    for (_, precision), record in by_kind.items():
        assert record["status"] == "ok", record["reason"]
        assert record["accuracy"]["per_seed"]
        assert record["proof"]["checkpoint_mask"] == record["proof"]["onnx_mask"]
        assert record["division"] == ("closed" if precision == "fp32" else "open")
        told = record["extra"]["quantisation"]
        if precision == "fp32":
            assert told is None
            continue
        assert told["form"] == "qdq"
        assert told["images"] == min(256, record["task"]["train"])
        assert record["proof"]["max_abs_error"] > 1e-4  # these are other features
        assert record["extra"]["accuracy_from"] is None
    compared = [c for c in lines(tmp_path / "R/comparisons.jsonl") if c["status"] == "ok"]
    ids = {record["id"]: kind[1] for kind, record in by_kind.items()}
    assert {(ids[c["sparse"]], ids[c["dense"]]) for c in compared} == {
        ("fp32", "fp32"),
        ("int8", "int8"),
    }


def test_a_user_s_int8_file_is_recorded_as_int8_and_its_effect_is_the_precision_s(
    tmp_path: Path, images: Path, cli: Cli
) -> None:
    plain, dense = export(SPARSE_NAME, tmp_path / "plain.onnx"), tmp_path / "dense.onnx"
    export(DENSE_NAME, dense)
    model = onnx.load(str(plain))
    fold_batch_norm(model)
    noise = np.random.default_rng(0).standard_normal((8, 3, SIDE, SIDE), dtype=np.float32)
    ranges = calibrate(model, tensors_to_calibrate(model), noise)
    mine = tmp_path / "mine8.onnx"
    onnx.save(quantise(model, ranges, "qdq"), str(mine))
    assert find_card(str(mine)).precision == "int8"
    assert find_card(f"tiny/uniform-90@{mine}").precision == "int8"
    assert find_card(str(plain)).precision == "fp32"

    words = [*small(tmp_path, images), "--engine", "onnxruntime", "--workload", "inference"]
    pair = ("--backbone", mine, "--dense", f"{mine}={dense}", "--out", tmp_path / "R")
    done = cli(*words, *pair)
    assert done.code == 0, done.err
    records = {r["id"]: r for r in lines(tmp_path / "R/records.jsonl")}
    kinds = sorted(
        (Path(r["backbone"]["name"]).stem, r["engine"]["precision"]) for r in records.values()
    )
    assert kinds == [("dense", "fp32"), ("dense", "int8"), ("mine8", "int8")]
    (compared,) = lines(tmp_path / "R/comparisons.jsonl")
    assert compared["status"] == "ok"
    assert records[compared["dense"]]["engine"]["precision"] == "int8"
    assert math.prod(compared["effects"].values()) == pytest.approx(compared["total"]["median"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--engine", "torch:int8"), "The engine torch does not compute in int8"),
        (("--engine", "torch", "--precision", "int8"), "--engine onnxruntime:int8, --engine open"),
        (("--engine", "onnxruntime:bf16"), "--engine openvino:bf16"),
        (("--workload", "full", "--precision", "int8"), "trains the network"),
    ],
)
def test_a_precision_that_an_engine_lacks_is_refused_when_typed(
    words: tuple[str, ...], complaint: str, tmp_path: Path, cli: Cli
) -> None:
    done = cli("run", "quick", *words, "--out", tmp_path / "R")
    assert done.code == 2
    assert complaint in " ".join(done.err.split())
    assert not (tmp_path / "R").exists()


def test_a_graph_that_deepsparse_left_to_another_never_counts_as_deepsparse() -> None:
    run = make_run()
    dense = run.record("inference", DENSE, "deepsparse")
    whole = run.record("inference", ACDC, "deepsparse")
    assert whole.engine.runs_itself and whole.engine.label == "deepsparse"
    left = replace(whole, engine=replace(whole.engine, supported_fraction=0.0))
    assert not left.engine.runs_itself
    assert "deepsparse (0% supported)" in engine_label(left, ())
    assert any("bundled ONNX Runtime" in text for text in warnings([left]))
    assert not any("bundled" in text for text in warnings([whole]))

    assert compare_run([dense, whole])[0].status == "ok"
    refused = compare_run([dense, left])[0]
    assert refused.status == "refused"
    assert "runs_itself" in (refused.reason or "")

    records = [left if record.id == whole.id else record for record in run.records]
    for given, may_be_chosen in ((run.records, True), (records, False)):
        study = Study([RunData.of("r", given)])
        named = {one.record.id for question in study.questions for one in question.candidates}
        assert (whole.id in named) == may_be_chosen
        assert dense.id in named
    gated = {cell.record.id: cell for cell in gated_cells(records, ())}
    assert gated[left.id].ratio is None
    assert "bundled ONNX Runtime" in (gated[left.id].reason or "")


def test_an_optional_engine_without_kernels_for_a_network_is_skipped(
    tmp_path: Path, images: Path, cli: Cli
) -> None:
    """`run quick` of a pruned ViT ended with four failed cells, "Shape: operator not known"."""
    words = [*small(tmp_path, images), "--workload", "inference"]
    words[words.index("--size") + 1] = "160"
    words += ["--backbone", "timm:test_vit/uniform-90@generated"]
    words += ["--engine", "onnxruntime", "--engine", "native:int8?", "--out", str(tmp_path / "R")]
    done = cli(*words)
    assert done.code == 0, done.err
    told = {
        (r["engine"]["name"], r["status"], r["reason"] or "")
        for r in lines(tmp_path / "R/records.jsonl")
    }
    assert ("onnxruntime", "ok", "") in told
    ((_, status, reason),) = (one for one in told if one[0] == "native")
    assert status == "skipped" and "plain convolutional networks alone in INT8" in reason
    (written,) = {
        r["extra"]["exporter"]["name"]
        for r in lines(tmp_path / "R/records.jsonl")
        if r["status"] == "ok"
    }
    assert written.startswith("dynamo")  # no engine of it needs older graphs
