"""What leaves the machine names files and folders, and no place where they lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.present.summaries import write_page, write_summaries
from sparsebench.bench.publish.hub import lay_out
from sparsebench.bench.publish.leaderboard import leaderboard, leaderboard_page
from sparsebench.bench.publish.shareable import shareable
from sparsebench.bench.publish.trackers import _parameters, numbers_of
from sparsebench.bench.records import RunFolder
from tests.bench.synthetic import make_run

PRUNED = "resnet18/pruned-80@/srv/secret place/alice/best.pth"
PLAN = """# The resolved plan of a run.
backbones = ["resnet18/pruned-80@/srv/secret place/alice/best.pth", "~alice/net.pth"]
tasks = ["/srv/secret place/alice/pets & more", "../alice/boxes.tar", "digits"]
data_dir = "/home/alice/data"

[dense]
"resnet18/pruned-80@/srv/secret place/alice/best.pth" = "/srv/secret place/bob/best.pth"

[engines.deepsparse]
python = "/opt/alice/bin/python"
"""
REASON = (
    "The image '/home/alice/x/1.jpg' cannot be read; see /srv/secret place/alice/pets & more/cat. "
    "Layer /layer1/layer1.0/conv1/Conv is dense, at 12/s."
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = make_run(blocks=2, engines=["onnxruntime"])
    sparse = next(one for one in made.records if not one.backbone.is_dense)
    changed = replace(sparse, backbone=replace(sparse.backbone, name=PRUNED), reason=REASON)
    records = [changed if one is sparse else one for one in made.records]
    folder = replace(made, records=records).write(tmp_path / "alice" / "monday")
    folder.write_text("plan.toml", PLAN)
    folder.write_text("log.txt", "opening /home/alice")
    write_summaries(folder)
    write_page(folder)
    return folder


def test_no_pushed_file_names_a_place_of_this_machine(run: RunFolder, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}
    assert b"secret" in before["report.html"] and b"secret" in before["summary.md"]
    with shareable(run) as shown:
        lay_out(shown, tmp_path / "pushed")
        assert shown.records()[1].reason == (
            "The image '1.jpg' cannot be read; see pets & more/cat. "
            "Layer /layer1/layer1.0/conv1/Conv is dense, at 12/s."
        )
    files = [file for file in (tmp_path / "pushed").rglob("*") if file.is_file()]
    assert {"report.html", "summary.csv", "plan.toml"} <= {file.name for file in files}
    for file in files:
        for private in (b"secret", b"/home/", b"/opt/", str(tmp_path).encode(), b"/tmp/"):
            assert private not in file.read_bytes(), (file.name, private)
    after = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}
    assert after == before  # the local run stays as it is


def test_the_plan_keeps_names_and_tells_those_that_are_alike_apart(run: RunFolder) -> None:
    with shareable(run) as shown:
        plan = (shown.path / "plan.toml").read_text()
    assert 'backbones = ["resnet18/pruned-80@alice/best.pth", "net.pth"]' in plan
    assert 'tasks = ["pets & more", "boxes.tar", "digits"]' in plan
    assert '"resnet18/pruned-80@alice/best.pth" = "bob/best.pth"' in plan
    assert 'python = "python"' in plan


def test_trackers_and_the_leaderboard_get_the_names_too(run: RunFolder) -> None:
    with shareable(run) as shown:
        told = f"{numbers_of(shown)}{_parameters(shown)}{leaderboard_page(leaderboard([shown]))}"
    assert "alice/best.pth" in told
    assert "secret" not in told


def test_a_run_without_paths_is_copied_byte_by_byte(tmp_path: Path) -> None:
    folder = make_run(blocks=2, engines=["onnxruntime"]).write(tmp_path / "monday")
    with shareable(folder) as shown:
        for name in ("records.jsonl", "trials.jsonl"):
            assert (shown.path / name).read_bytes() == (folder.path / name).read_bytes()
