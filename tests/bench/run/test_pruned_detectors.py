"""A trained detector's file: pruned in one shot by its name, trained on with its zeros kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsebench.models.generated import generate
from tests.bench.run.small import Cli, lines
from tests.bench.tasks.detection import sets

pytest.importorskip("faster_coco_eval")
PLAN = """
backbones = ["yolov5n/magnitude-90@best.pt"]
engines = ["onnxruntime"]
workloads = ["inference", "full"]
size = 64
batch_size = 4
threads = 1
repeats = 1
seeds = [1]
discards = 0
[inference]
min_seconds = 0.01
[full]
engines = ["torch"]
recipe = "short"
epochs = 1
validation = 0.0
tune = "off"
"""


def test_a_detector_is_pruned_by_its_name_and_trained_on(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    boxes = sets.write_coco(tmp_path / "squares", train=8, test=4)
    torch.save(generate("yolov5n", "dense", 0.0, len(sets.CLASSES)).state_dict(), "best.pt")
    (tmp_path / "plan.toml").write_text(PLAN)
    done = cli("run", "plan.toml", "--task", boxes, "--dense", "yolov5n/dense@best.pt",
               "--out", "run")  # fmt: skip
    assert done.code == 0, done.err
    found = {
        (one["workload"], one["backbone"]["family"]): one
        for one in lines(tmp_path / "run" / "records.jsonl")
    }
    assert len(found) == 4 and {one["status"] for one in found.values()} == {"ok"}, found
    # The last layers tell the task's classes already, so nothing new is trained for `inference`.
    assert found["inference", "one-shot"]["extra"]["head"] == {"kind": "own", "trained_by": None}
    assert found["inference", "one-shot"]["backbone"]["measured_sparsity"] == pytest.approx(
        0.9, abs=0.01
    )
    for (workload, family), one in found.items():
        assert one["accuracy"]["metric"] == "map50"
        if workload == "full":
            proof = one["proof"]
            after = None if family == "dense" else proof["checkpoint_mask"]
            assert proof["after_training_mask"] == after
