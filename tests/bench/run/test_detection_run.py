"""Detection from the command line to records, table, report, plot and answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsebench.bench.records import RunFolder
from sparsebench.results.scripts.recompute import recompute
from tests.bench.run.small import Cli, lines
from tests.bench.tasks.detection import sets

pytest.importorskip("faster_coco_eval")
PLAN = """
backbones = ["resnet18/gmp_uniform-90"]
engines = ["native", "onnxruntime"]
workloads = ["inference", "linear-cached", "serving", "full"]
size = 64
batch_size = 4
threads = 1
repeats = 2
seeds = [1, 2]
discards = 0
heat = 0
[inference]
min_seconds = 0.01
detection_epochs = 4
[linear-cached]
engines = ["onnxruntime"]
detection_epochs = 4
[serving]
seconds = 0.2
engines = ["onnxruntime"]
[full]
engines = ["torch"]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on squares: two engines, of which one trains heads in a workload of its own."""
    import sys

    from sparsebench.bench.cli import main

    root = tmp_path_factory.mktemp("detection")
    sets.write_coco(root / "squares", train=24, test=8)
    (root / "plan.toml").write_text(PLAN)
    arguments = ["run", root / "plan.toml", "--task", root / "squares", "--out", root / "run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sparsebench", *map(str, arguments)])
        with pytest.raises(SystemExit):
            main()
    return root / "run"


def records(run: Path, workload: str) -> list[dict[str, Any]]:
    return [one for one in lines(run / "records.jsonl") if one["workload"] == workload]


def test_inference_and_cached_heads_are_measured_with_their_map(run: Path) -> None:
    for workload, count in (("inference", 4), ("linear-cached", 2), ("serving", 2)):
        found = records(run, workload)
        assert [one["status"] for one in found] == ["ok"] * count, found
        for one in found:
            assert one["task"]["metric"] == one["accuracy"]["metric"] == "map50"
            assert one["accuracy"]["per_seed"] == one["extra"]["detection"]["map50"]
            assert one["accuracy"]["over"] == "images and seeds"
            assert "solver" not in one["settings"]
            assert one["proof"]["onnx_mask"] == one["proof"]["checkpoint_mask"]
    lent = {
        one["engine"]["name"]: one["extra"]["accuracy_from"] for one in records(run, "inference")
    }
    assert lent["native"] is None
    assert lent["onnxruntime"] is not None


def test_seconds_an_epoch_are_those_of_the_detection_head(run: Path) -> None:
    for one in records(run, "linear-cached"):
        heads = [trial["stages"]["head"] for trial in one["trials"]]
        told = one["extra"]["head_seconds_per_epoch"]
        assert told == pytest.approx([seconds / 4 for seconds in heads])


def test_a_workload_that_knows_no_detection_says_so(run: Path) -> None:
    for one in records(run, "full"):
        assert one["status"] == "failed"
        assert "'full' does not know detection tasks" in one["reason"]


def test_the_change_is_paired_over_images_and_seeds(run: Path) -> None:
    found = [c for c in RunFolder.reading(run).comparisons() if c.status == "ok"]
    assert {c.workload for c in found} == {"inference", "linear-cached", "serving"}
    for one in found:
        assert one.accuracy_delta is not None
        assert one.accuracy_delta.over == "images and seeds"
        assert one.accuracy_delta.ci95 is not None


def test_the_outsiders_script_passes_over_map(run: Path) -> None:
    assert all("change" not in number.name for number in recompute(run))


def test_tables_figure_and_answer_say_map50(run: Path, cli: Cli) -> None:
    page = (run / "summary.md").read_text()
    assert "mAP50 %" in page
    assert "mAP50 change (pp)" in page
    assert "accuracy %" not in page
    assert "mean average precision of the boxes" in page
    assert "mAP50 change (pp)" in (run / "report.html").read_text()
    told = cli("advise", run, "--max-accuracy-loss", 100)
    assert told.code in (0, 4), told.err  # 4: two blocks show little
    assert "mAP50" in told.out
