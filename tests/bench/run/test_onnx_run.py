"""ONNX files from the command line: measured like the same backbones by name, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.models.zoo.load import load_backbone
from tests.bench.conftest import Result
from tests.bench.run.small import TINY, TINY_DENSE

Cli = Callable[..., Result]
SPARSE, DENSE = TINY, TINY_DENSE
SIDE = 32


def export(name: str, path: Path) -> Path:
    path.write_bytes(_exported(name))
    return path


@cache
def _exported(name: str) -> bytes:
    file: Any = BytesIO()
    torch.onnx.export(
        load_backbone(name).module,
        (torch.zeros(1, 3, SIDE, SIDE),),
        file,
        input_names=["pictures"],
        output_names=["logits"],
        dynamic_axes={"pictures": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
        opset_version=13,
    )
    return bytes(file.getvalue())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("own")
    return export(SPARSE, folder / "my.onnx"), export(DENSE, folder / "dense.onnx")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def small(folder: Path, images: Path) -> list[str]:
    plan = folder / "small.toml"
    plan.write_text("min_seconds = 0.01\nrepeats = 1\ndiscards = 0\nseeds = [1]\nepochs = 3\n")
    words = ["run", plan, "--task", images, "--batch-size", 8, "--threads", 1, "--size", SIDE]
    return [str(word) for word in words]


def test_a_file_is_measured_like_the_same_backbone_by_name(
    tmp_path: Path, files: tuple[Path, Path], images: Path, cli: Cli
) -> None:
    mine, dense = files
    words = [*small(tmp_path, images), "--engine", "onnxruntime", "--workload", "linear-cached"]
    pair = ("--backbone", mine, "--dense", f"{mine}={dense}")
    more = ("--workload", "inference", "--engine", "torch")
    done = cli(*words, *pair, *more, "--out", tmp_path / "files")
    assert done.code == 0, done.err
    done = cli(*words, "--backbone", SPARSE, "--out", tmp_path / "names")
    assert done.code == 0, done.err

    records = lines(tmp_path / "files/records.jsonl")
    named = {r["backbone"]["method"]: r for r in lines(tmp_path / "names/records.jsonl")}
    assert {r["backbone"]["name"] for r in records} == {str(mine), str(dense)}
    for record in records:
        if record["engine"]["name"] == "torch":
            assert record["status"] == "failed"
            assert "a bare ONNX file has no PyTorch module" in record["reason"]
            continue
        assert record["status"] == "ok", record["reason"]
        own = record["extra"]["onnx_file"]
        assert own["verified_against"].startswith("ONNX Runtime") and "assumed" in own["notes"]
        assert own["features"].endswith("Flatten_output_0")
        assert record["proof"]["checkpoint_mask"] == record["proof"]["onnx_mask"]
        assert record["proof"]["argmax_agreement"] == 1.0
        twin = named["dense" if record["backbone"]["method"] == "dense" else "uniform"]
        for key in ("measured_sparsity", "flops_ratio"):
            assert record["backbone"][key] == pytest.approx(twin["backbone"][key], abs=1e-12)
        assert record["accuracy"]["per_seed"] == twin["accuracy"]["per_seed"]
    (compared,) = [
        c
        for c in lines(tmp_path / "files/comparisons.jsonl")
        if c["status"] == "ok" and c["workload"] == "inference"
    ]
    assert compared["speedup"]["median"] > 0


def test_inspect_tells_layers_and_costs_of_an_unknown_network(
    tmp_path: Path, files: tuple[Path, Path], cli: Cli
) -> None:
    model = onnx.load(str(files[0]))
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Sigmoid"
    onnx.save(model, str(tmp_path / "other.onnx"))
    twin = inspect_target(SPARSE, size=SIDE)
    shown = cli("inspect", tmp_path / "other.onnx", "--json")
    assert shown.code == 0
    report = json.loads(shown.out)
    for key in ("sparsity", "flops_ratio", "dead_filters"):
        assert report[key] == pytest.approx(getattr(twin, key))
    assert report["facts"]["format"] == "onnx, run as it is"
    assert "Flatten_output_0" in report["facts"]["features"]
    assert "computes something else" in report["unknown"][0]


def test_export_cuts_the_file_and_says_what_it_was_held_against(
    tmp_path: Path, files: tuple[Path, Path], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("export", files[0])
    assert done.code == 0, done.err
    assert "my-features.onnx: features [N, 16]" in done.out
    assert "against ONNX Runtime (the file itself)" in done.out
    assert (tmp_path / "my-features.onnx").is_file()
    again = cli("export", files[0], "--out", files[0])
    assert again.code == 2 and "is the file itself" in again.err


def test_wrong_pairs_and_broken_files_end_with_one_message(
    tmp_path: Path, files: tuple[Path, Path], images: Path, cli: Cli
) -> None:
    mine, dense = files
    words = [*small(tmp_path, images), "--engine", "onnxruntime", "--out", str(tmp_path / "R")]
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(mine.read_bytes()[:2_000])
    for arguments, complaint in (
        (("--backbone", mine), "does not say which dense network"),
        (("--backbone", mine, "--dense", f"{mine}={mine}"), "cannot be the dense baseline"),
        (("--backbone", mine, "--dense", f"{mine}={DENSE}"), "of one architecture"),
        (("--backbone", dense, "--dense", f"{dense}={mine}"), "holds hardly any zeros"),
        (("--backbone", broken), "cannot be read as ONNX"),
        (("--backbone", tmp_path / "none.onnx"), "There is no ONNX file"),
        (("--backbone", mine, "--dense", f"{mine}={broken}"), "cannot be read as ONNX"),
    ):
        done = cli(*words, *arguments)
        assert done.code == 2, (arguments, done)
        assert complaint in " ".join(done.err.split()), (complaint, done.err)
        assert "Traceback" not in done.err


def test_full_training_of_a_file_is_refused_with_the_reason(
    tmp_path: Path, files: tuple[Path, Path], images: Path, cli: Cli
) -> None:
    done = cli(
        *small(tmp_path, images), "--engine", "torch", "--workload", "full",
        "--backbone", files[1], "--out", tmp_path / "R",
    )  # fmt: skip
    assert done.code == 3
    (record,) = lines(tmp_path / "R/records.jsonl")
    assert record["status"] == "failed"
    assert "no PyTorch network to train" in record["reason"]
