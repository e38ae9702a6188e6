"""Detection from the command line to records, table, report, plot and answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_sparsebench.fixture import judged
from pytest_sparsebench.guards import table
from pytest_sparsebench.runs import find_cell
from sparsebench.bench.gate.render import verdict_table
from sparsebench.bench.gate.report import CellVerdict, GateReport, Settings
from sparsebench.bench.plan.workload import Workload
from sparsebench.bench.publish.leaderboard import leaderboard
from sparsebench.bench.records import RunFolder
from sparsebench.bench.statistics import Interval
from sparsebench.bench.tasks.kinds import DETECTION
from sparsebench.models.errors import SparsebenchError
from sparsebench.results.scripts.recompute import recompute
from tests.bench.run.small import Cli, lines
from tests.bench.tasks.detection import sets

pytest.importorskip("faster_coco_eval")
PLAN = """
backbones = ["resnet18/gmp_uniform-90"]
engines = ["native", "onnxruntime"]
workloads = ["inference", "linear-cached", "serving", "full", "linear-online"]
size = 64
batch_size = 4
threads = 1
repeats = 1
seeds = [1, 2]
discards = 0
heat = 0
[inference]
min_seconds = 0.01
detection_epochs = 2
[linear-cached]
engines = ["onnxruntime"]
detection_epochs = 2
[serving]
seconds = 0.2
engines = ["onnxruntime"]
[full]
engines = ["torch"]
recipe = "short"
epochs = 1
validation = 0.2
tune = "off"
[linear-online]
engines = ["onnxruntime"]
recipe = "short"
epochs = 2
validation = 0.2
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on squares: two engines, of which one trains heads in a workload of its own."""
    import sys

    from sparsebench.bench.cli import main

    root = tmp_path_factory.mktemp("detection")
    sets.write_coco(root / "squares", train=16, test=6)
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


def test_an_optional_engine_is_left_out_of_a_task_of_boxes_where_it_does_not_run_the_detector(
    tmp_path: Path, cli: Cli
) -> None:
    """`quick` asks for ``native:int8?``: its cells failed, and the run with them."""
    (tmp_path / "plan.toml").write_text(
        'backbones = ["yolov5n/uniform-90@generated"]\n'
        'engines = ["onnxruntime", "native:int8?"]\n'
        'workloads = ["inference"]\nsize = 64\nbatch_size = 4\nthreads = 1\nrepeats = 1\n'
        "seeds = [1]\ndiscards = 0\n[inference]\nmin_seconds = 0.01\ndetection_epochs = 1\n"
    )
    boxes = sets.write_coco(tmp_path / "squares", train=8, test=4)
    done = cli("run", tmp_path / "plan.toml", "--task", boxes, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert {
        (one["status"], one["reason"])
        for one in lines(tmp_path / "run" / "records.jsonl")
        if one["engine"]["name"] == "native"
    } <= {("skipped", "native does not run yolov5n in int8.")}


def test_seconds_an_epoch_are_those_of_the_detection_head(run: Path) -> None:
    for one in records(run, "linear-cached"):
        heads = [trial["stages"]["head"] for trial in one["trials"]]
        told = one["extra"]["head_seconds_per_epoch"]
        assert told == pytest.approx([seconds / 2 for seconds in heads])


def test_full_trains_whole_detectors_with_their_mask(run: Path) -> None:
    found = records(run, "full")
    assert [one["status"] for one in found] == ["ok"] * 2, found
    for one in found:
        assert one["accuracy"]["seeds"] == [1, 2]  # dealt over the two blocks
        assert one["accuracy"]["per_seed"] == one["extra"]["detection"]["map50"]
        assert one["accuracy"]["over"] == "images and seeds"
        assert one["accuracy"]["best_epoch_per_seed"] is not None
        assert one["settings"]["training"]["epochs"] == 1
        dense = one["backbone"]["family"] == "dense"
        after = None if dense else one["proof"]["checkpoint_mask"]
        assert one["proof"]["after_training_mask"] == after
        stages = one["trials"][0]["stages"]
        assert {"decode", "augment", "forward", "backward", "evaluate"} <= set(stages)


def test_heads_are_trained_online_on_images_that_move(run: Path) -> None:
    found = records(run, "linear-online")
    assert [one["status"] for one in found] == ["ok"] * 2, found
    for one in found:
        assert one["accuracy"]["seeds"] == [1, 2]  # dealt over the two blocks
        assert one["accuracy"]["per_seed"] == one["extra"]["detection"]["map50"]
        assert one["accuracy"]["over"] == "images and seeds"
        assert one["settings"]["training"]["epochs"] == 2
        assert {"decode", "augment", "extract", "head", "evaluate"} <= set(
            one["trials"][0]["stages"]
        )


def test_a_workload_that_knows_no_detection_says_so() -> None:
    class Odd(Workload):
        name = "odd"

    with pytest.raises(SparsebenchError, match="'odd' does not know detection tasks.*inference"):
        Odd.known_part_of(DETECTION)


def test_the_time_of_decoding_is_told_beside_that_of_the_engine(run: Path) -> None:
    for one in records(run, "inference"):
        spent = one["extra"]["detection"]["decode_seconds"]
        assert len(spent) == 2 and all(seconds > 0 for seconds in spent)
    page = (run / "summary.md").read_text()
    assert "with decoding and NMS" in page


def test_the_change_is_paired_over_images_and_seeds(run: Path) -> None:
    found = [c for c in RunFolder.reading(run).comparisons() if c.status == "ok"]
    assert {c.workload for c in found} == {
        "inference", "linear-cached", "serving", "full", "linear-online"
    }  # fmt: skip
    for one in found:
        assert one.accuracy_delta is not None
        assert one.accuracy_delta.over == "images and seeds"
        assert one.accuracy_delta.ci95 is not None


def test_the_outsiders_script_agrees_about_map(run: Path) -> None:
    numbers = [one for one in recompute(run) if "speed-up" not in one.name]
    names = {one.name.rpartition(": ")[2] for one in numbers}
    assert names == {"map50 of sparse", "map50 of dense", "change"}
    for number in numbers:
        assert number.agrees, number


def test_tables_figure_and_answer_say_map50(run: Path, cli: Cli) -> None:
    page = (run / "summary.md").read_text()
    assert "mAP50 %" in page
    assert "mAP50 change (pp)" in page
    assert "accuracy %" not in page and "accuracy change" not in page
    assert "classifier" not in page
    assert "mean average precision of the boxes" in page
    assert "mAP50 change (pp)" in (run / "report.html").read_text()
    told = cli("advise", run, "--max-accuracy-loss", 100)
    assert told.code in (0, 4), told.err  # 4: two blocks show little
    assert "mAP50" in told.out


def test_every_other_form_of_a_result_says_map50(run: Path, cli: Cli) -> None:
    board = leaderboard([RunFolder.reading(run)])
    for shown in board.tables():
        titles = [column.title for column in shown.columns]
        assert any("mAP50 change (pp)" in title for title in titles), titles
    same = cli("compare", run, run)
    assert "mAP50" in same.out and "accuracy" not in same.out.partition("verdict")[0]
    key: dict[str, Any] = {"workload": "full", "task": "a", "backbone": "b", "engine": "torch"}
    key |= {"precision": "fp32", "device": "cpu", "batch_size": 1, "threads": 1, "size": 64}
    for metric, title in (("map50", "mAP50 (pp)"), ("top1", "accuracy (pp)")):
        verdict = CellVerdict(
            key, "same", "speedup", accuracy_change=Interval(0.1, -1, 1, 3), metric=metric
        )
        report = GateReport("run", "", (verdict,), Settings())
        assert verdict_table(report.verdicts, report).columns[-1].title == title


def test_the_plugin_of_pytest_says_map50(run: Path) -> None:
    found = find_cell(run, "resnet18/gmp_uniform-90", "onnxruntime", "inference", None)
    assert table({"test_cell": found})[0].split()[3] == "mAP50"
    change = {"accuracy_change": -9.0, "accuracy_change_ci95": [-10.0, -8.0]}
    worse = replace(found, info={**found.info, **change})
    broken, _ = judged(worse, 0.5, None)
    assert "9.00 points of mAP50" in broken[0]
