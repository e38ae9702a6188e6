"""A plan over two nodes of a real Ray cluster, one of which dies in the middle.

Ray is no dependency of the suite nor of its tests: where it is not installed, this is skipped.
"""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench.run.small import BACKBONE, Cli, lines

pytest.importorskip("ray")
PLAN = f"""
backbones = ["{BACKBONE}"]
engines = ["onnxruntime", "openvino"]
workloads = ["inference"]
tasks = ["digits"]
limit = 40
size = 32
batch_size = [1, 2, 4]
threads = 1
repeats = 2
seeds = [1]
min_seconds = 0.01
discards = 0
"""


@pytest.mark.slow
@pytest.mark.alone
def test_twelve_cells_on_two_nodes_one_of_which_dies(
    cli: Cli, tmp_path: Path, coarse_figures: None
) -> None:
    from ray.cluster_utils import Cluster as Local

    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    quiet = {"include_dashboard": False}
    local = Local(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
    killed: list[float] = []
    try:
        folders = [tmp_path / "first", tmp_path / "second"]
        nodes = []
        for folder in folders:
            folder.mkdir()
            offered = {"num_cpus": 2, "resources": {"sparsebench_node": 1}, **quiet}
            nodes.append(local.add_node(**offered, env_vars={"TMPDIR": str(folder)}))

        def kill() -> None:
            while not any(folders[1].glob("sparsebench-*/*/trials.jsonl")):  # it is measuring
                time.sleep(0.05)
            local.remove_node(nodes[1], allow_graceful=False)
            killed.append(time.time())

        seen: dict[str, int] = {"at once": 0, "beside a clock": 0}
        for target in (kill, lambda: watch(folders, seen)):
            threading.Thread(target=target, daemon=True).start()
        result = cli("run", plan, "--out", tmp_path / "R", "--ray", local.address)
    finally:
        local.shutdown()
    assert result.code == 0, result.err
    assert killed
    assert seen == {"at once": 2, "beside a clock": 0}  # two processors, a thread each
    assert "A node was lost" in (tmp_path / "R/log.txt").read_text()
    assert cli("run", plan, "--out", tmp_path / "H").code == 0
    over_two, here = (records_but_times(tmp_path / name) for name in "RH")
    assert len(here) == 12
    assert over_two == here
    # Each cell once, from the one node that measured its group whole.
    trials = lines(tmp_path / "R/trials.jsonl")
    assert len({(one["cell"], one["block"]) for one in trials}) == len(trials) == 24
    assert {one["status"] for one in trials} == {"ok"}


def watch(folders: list[Path], seen: dict[str, int]) -> None:
    """Note how many untimed parts a node had at once, and how often it had one beside a clock."""
    while True:
        for folder in folders:
            parts = running_parts(folder)
            seen["at once"] = max(seen["at once"], len(parts))
            timed = any(folder.glob("sparsebench-*/*/trials.jsonl"))
            # Looked at again: the part may have ended before the clock began.
            seen["beside a clock"] += bool(timed and parts & running_parts(folder))
        time.sleep(0.05)


def running_parts(folder: Path) -> set[str]:
    """Locks of processors that are held."""
    held = set()
    for path in folder.glob("sparsebench-*-cpu*"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.add(path.name)
    return held


def records_but_times(folder: Path) -> dict[str, Any]:
    """What a record says of its cell, machine, accuracy and proof."""
    keys = ("status", "workload", "task", "backbone", "engine", "division", "settings", "machine",
            "proof", "packages")  # fmt: skip
    return {
        one["id"]: {
            **{key: one[key] for key in keys},
            "machine": one["machine"]["fingerprint"],
            "blocks": [trial["block"] for trial in one["trials"]],
            "accuracy": one["accuracy"] and one["accuracy"]["per_seed"],
        }
        for one in lines(folder / "records.jsonl")
    }
