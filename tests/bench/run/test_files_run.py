"""What people bring, from the command line: one bad file beside a good one, odd names, batches."""

from __future__ import annotations

import csv
import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from sparsebench.bench.cli.baselines import named_baselines
from sparsebench.bench.workloads.prepared_backbone import Prepared, prepare
from tests.bench.conftest import Result
from tests.models.onnx_graphs import BODY, model_of, saved, weights

Cli = Callable[..., Result]
node = helper.make_node
GEMM = node("Gemm", ["features", "w1", "b1"], ["logits"], "classifier")


def dense() -> onnx.ModelProto:
    filled = np.where(weights()["w0"] == 0, np.float32(0.01), weights()["w0"])
    return model_of([*BODY, GEMM], stored={"w0": filled})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def words(folder: Path, images: Path, batch: int, *more: object) -> list[str]:
    plan = folder / "small.toml"
    plan.write_text("min_seconds = 0.01\nrepeats = 1\ndiscards = 0\nseeds = [1]\nepochs = 3\n")
    given = ["run", plan, "--task", images, "--batch-size", batch, "--threads", 1,
             "--engine", "onnxruntime", "--workload", "linear-cached"]  # fmt: skip
    return [str(word) for word in (*given, *more)]


def test_one_bad_file_beside_good_ones_is_one_failed_record(
    tmp_path: Path, images: Path, cli: Cli
) -> None:
    """Names hold "=", one ends in capitals; the bad file holds a cycle; labels are measured."""
    good = saved(model_of([*BODY, GEMM]), tmp_path / "epoch=3-val=0.7.ONNX")
    base = saved(dense(), tmp_path / "base=1.onnx")
    loop = [BODY[0], node("Add", ["c0", "back"], ["r0"]), node("Relu", ["r0"], ["back"])]
    bad = saved(model_of([*loop, *BODY[2:], GEMM]), tmp_path / "bad.onnx")
    out = tmp_path / "run"
    pairs = ["--backbone", good, "--dense", f"{good}={base}", "--backbone", bad, "--dense",
             f"{bad}={base}"]  # fmt: skip
    done = cli(*words(tmp_path, images, 8, *pairs, "--out", out))
    assert done.code == 0, done.err
    status = {
        r["backbone"]["name"]: (r["status"], r["reason"]) for r in lines(out / "records.jsonl")
    }
    assert status[str(good)][0] == status[str(base)][0] == "ok", status
    assert status[str(bad)][0] == "failed" and "holds a cycle" in status[str(bad)][1]
    rows = list(csv.DictReader((out / "summary.csv").open()))
    shown = {row["backbone"]: float(row["sparsity"]) for row in rows}
    zeros = int((weights()["w0"] == 0).sum())
    assert shown[str(good)] == pytest.approx(zeros / (12 * 27 + 60))
    assert shown[str(base)] == 0
    alone = cli(*words(tmp_path, images, 8, "--backbone", bad, "--out", tmp_path / "alone"))
    assert alone.code == 2 and "holds a cycle" in alone.err


def test_networks_of_measured_cells_are_let_go(
    tmp_path: Path, images: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds its weights, a batch of images and a session's threads."""
    held: list[int] = []
    prepared: list[weakref.ref[Prepared]] = []

    def counted(*given: Any, **more: Any) -> Prepared:
        gc.collect()
        held.append(sum(one() is not None for one in prepared))
        one = prepare(*given, **more)
        prepared.append(weakref.ref(one))
        return one

    monkeypatch.setattr("sparsebench.bench.run.networks.prepare", counted)
    good = saved(model_of([*BODY, GEMM]), tmp_path / "good.onnx")
    base = saved(dense(), tmp_path / "base.onnx")
    given = words(tmp_path, images, 1, "--batch-size", 2, "--batch-size", 3, "--backbone", good,
                  "--dense", f"{good}={base}", "--out", tmp_path / "run")  # fmt: skip
    given[given.index("linear-cached")] = "inference"
    done = cli(*given)
    assert done.code == 0, done.err
    assert held == [0, 1, 0, 1, 0, 1]


def test_a_batch_size_of_the_file_s_own_is_measured(tmp_path: Path, images: Path, cli: Cli) -> None:
    """A reshape to [1, 12] binds the graph to single images."""
    nodes = [*BODY[:3], node("Reshape", ["pooled", "row"], ["features"]), GEMM]
    row = {"row": np.array([1, 12], np.int64)}
    bound = saved(model_of(nodes, stored=row, shape=(1, 3, 16, 16)), tmp_path / "bound.onnx")
    base = saved(dense(), tmp_path / "base.onnx")
    pair = ["--backbone", bound, "--dense", f"{bound}={base}"]
    for batch, code in ((1, "ok"), (4, "failed")):
        out = tmp_path / f"run{batch}"
        done = cli(*words(tmp_path, images, batch, *pair, "--out", out))
        records = {r["backbone"]["name"]: r for r in lines(out / "records.jsonl")}
        assert records[str(base)]["status"] == "ok", done.err
        assert records[str(bound)]["status"] == code, records[str(bound)]["reason"]
    assert "batch size of 1, not of 4" in records[str(bound)]["reason"]
    assert "--batch-size 1" in records[str(bound)]["reason"]


def test_a_pair_that_is_cut_at_different_places_has_no_accuracy_change(
    tmp_path: Path, images: Path, cli: Cli
) -> None:
    sparse = saved(model_of([*BODY, GEMM]), tmp_path / "sparse.onnx")
    filled = np.where(weights()["w0"] == 0, np.float32(0.01), weights()["w0"])
    deeper = [*BODY, GEMM, node("Gemm", ["logits", "square"], ["more"])]
    stored = {"w0": filled, "square": np.eye(5, dtype=np.float32) + np.float32(0.01)}
    base = saved(model_of(deeper, ["more"], stored=stored), tmp_path / "base.onnx")
    out = tmp_path / "run"
    pair = ["--backbone", sparse, "--dense", f"{sparse}={base}"]
    done = cli(*words(tmp_path, images, 8, *pair, "--out", out))
    assert done.code == 0, done.err
    (found,) = lines(out / "comparisons.jsonl")
    assert found["accuracy_delta"] is None and found["speedup"] is not None
    assert any("different places" in note for note in found["notes"])


def test_a_dense_option_is_split_where_both_sides_exist(tmp_path: Path) -> None:
    names = [tmp_path / "epoch=1.onnx", tmp_path / "a=b=c.onnx"]
    for name in names:
        saved(dense(), name)
    one, two = map(str, names)
    assert named_baselines([f"{one}={two}"], [one]) == {one: two}
    sparse, partner = f"resnet18/gmp-90@{one}", f"resnet18/dense@{two}"
    assert named_baselines([f"{sparse}={partner}"], [sparse]) == {sparse: partner}
    assert named_baselines(["my.onnx=dense.onnx"], ["my.onnx"]) == {"my.onnx": "dense.onnx"}
