"""What is fuzzed: a reader, given any bytes, returns or raises SparsebenchError, nothing else."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from sparsebench.bench.plan.plan import load_plan
from sparsebench.bench.records import RunFolder
from sparsebench.bench.records.jsonl import read_lines
from sparsebench.bench.tasks import open_task
from sparsebench.models.errors import SparsebenchError


def records(path: Path) -> None:
    """A run's files: each takes the bytes in turn."""
    folder = path.parent / f"{path.name}-run"
    folder.mkdir()
    for name in ("records.jsonl", "trials.jsonl", "comparisons.jsonl"):
        (folder / name).write_bytes(path.read_bytes())
    read = RunFolder.reading(folder)
    for method in (read.records, read.trials, read.comparisons, lambda: read_lines(path)):
        try:
            method()
        except SparsebenchError:
            continue


def toml(path: Path) -> None:
    """A plan."""
    load_plan(str(path))


def tar(path: Path) -> None:
    """A data set."""
    open_task(str(path), cache=path.parent / "cache")


def checkpoint(path: Path) -> None:
    """A file of weights."""
    from sparsebench.models.checkpoints import load_checkpoint

    load_checkpoint(path)


def onnx(path: Path) -> None:
    """An ONNX file."""
    from sparsebench.models.onnx_file.graph import open_onnx

    open_onnx(path)


TARGETS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "records": (".jsonl", records),
    "toml": (".toml", toml),
    "tar": (".tar", tar),
    "checkpoint": (".pth", checkpoint),
    "onnx": (".onnx", onnx),
}


def good_bytes(name: str) -> bytes:
    """A small input that the reader takes, to start from."""
    file = io.BytesIO()
    if name == "onnx":
        from onnx import helper

        from tests.models.onnx_graphs import BODY, model_of

        gemm = helper.make_node("Gemm", ["features", "w1", "b1"], ["logits"], "classifier")
        return bytes(model_of([*BODY, gemm]).SerializeToString())
    if name == "checkpoint":
        import torch

        torch.save({"state_dict": {"conv1.weight": torch.ones(2, 3, 3, 3)}, "epoch": 3}, file)
    elif name == "tar":
        with tarfile.open(fileobj=file, mode="w") as archive:
            for part in ("train/cat/1.png", "test/cat/1.png"):
                archive.addfile(tarfile.TarInfo(part))
    elif name == "toml":
        return b'backbones = ["resnet18/dense"]\nengines = ["torch"]\nrepeats = 3\n'
    else:
        from tests.bench.synthetic import make_run

        run = make_run(blocks=1, engines=("torch",), workloads=("inference",))
        return json.dumps(run.records[0].to_json()).encode() + b"\n"
    return file.getvalue()


def try_bytes(name: str, data: bytes) -> None:
    """Give a reader these bytes.

    Raises:
        Exception: whatever but SparsebenchError leaves the reader.
    """
    suffix, reader = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"input{suffix}"
        path.write_bytes(data)
        try:
            reader(path)
        except SparsebenchError:
            return
