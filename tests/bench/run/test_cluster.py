"""A plan over many machines: the driver's side, with a pretended Ray that computes here."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsebench.bench.machine.facts import machine_facts
from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Record, RunFolder, Trial
from sparsebench.bench.run import cluster, execute, joining, leased
from sparsebench.bench.run.cluster import Cluster
from sparsebench.bench.run.leased import Looked, Measured, Refused
from sparsebench.bench.run.untimed import Untimed
from sparsebench.models.errors import SparsebenchError
from tests.bench.run.pretended_ray import GetTimeoutError, PretendedRay, node, pretend
from tests.bench.run.small import BACKBONE, SMALL, Cli, lines
from tests.bench.run.test_heat import Silent
from tests.bench.synthetic import make_run

PLAN = Plan().with_changes(
    backbones=(BACKBONE,),
    engines=("onnxruntime",),
    workloads=("inference",),
    tasks=("digits",),
    batch_size=(1, 2, 4),
    threads=1,
    repeats=2,
)
LENT = PLAN.with_changes(workloads=("linear-cached",))
"""A plan in which everything is timed: random weights know no classes."""
SYNTHETIC = make_run(blocks=2)


class Noting(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def measured(plan: Plan, name: str, where: str, untimed: Untimed) -> Measured:
    """As a node would give back, with times of another run."""
    old = next(r for r in SYNTHETIC.records if r.workload == "inference")
    trials = [t for t in SYNTHETIC.trials if t.cell == old.id]

    def record(cell: Cell) -> Record:
        task = replace(old.task, name=Path(cell.task).name)
        return replace(old, id=cell.id, run=name, task=task)

    cells = expand(plan)
    return Measured(
        "elsewhere",
        tuple(replace(t, cell=c.id, run=name).to_json() for c in cells for t in trials),
        tuple(record(cell).to_json() for cell in cells),
        ({"block": 0, "launch": "l0", "disturbed": None, "before": {}, "after": {}},),
        {f"{cells[0].id}-l0.npz": b"outcomes"},
        ("a line",),
    )


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> PretendedRay:
    made = pretend(monkeypatch)
    monkeypatch.setattr(cluster, "measure", measured)
    monkeypatch.setattr(cluster, "find_out", lambda *given: Untimed())
    for name in ("write_summaries", "write_page", "trim"):
        monkeypatch.setattr(execute, name, lambda *given: None)
    return made


@pytest.fixture
def address() -> Iterator[str]:
    """Somebody answers there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def timed(ray: PretendedRay) -> list[dict[str, Any]]:
    """Leases of whole nodes, in order."""
    return [one for one in ray.leases if one["resources"]["sparsebench_node"] == 1]


def go(
    plan: Plan, out: Path, address: str, *, resume: bool = False
) -> tuple[execute.Outcome, Noting]:
    display = Noting()
    with Cluster(address, wait=0.1) as joined:
        done = execute.execute(plan, out, resume=resume, display=display, elsewhere=joined.measure)
    return done, display


def test_every_group_is_leased_once_and_the_driver_writes_it_all(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    ray.nodes_ = [
        node(8),
        node(4),
        node(2, Alive=False),
        node(1, Resources={"sparsebench_node": 0}),
    ]
    outcome, _ = go(PLAN, tmp_path / "R", address)
    assert (outcome.measured, outcome.failed) == (6, 0)
    assert {r.id for r in outcome.folder.records()} == {cell.id for cell in expand(PLAN)}
    assert len(outcome.folder.trials()) == 6 * 2
    assert [(one["num_cpus"], one["resources"]) for one in timed(ray)] == [
        (4, {"sparsebench_node": 1})
    ] * 3
    assert len(list((tmp_path / "R/correct").glob("*.npz"))) == 3
    assert len(lines(tmp_path / "R/blocks.jsonl")) == 3
    assert (tmp_path / "R/log.txt").read_text().count("elsewhere: a line") == 3
    assert ray.down


def test_a_lost_node_s_group_is_measured_again(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    ray.lost = 2
    outcome, display = go(LENT, tmp_path / "R", address)
    assert (outcome.measured, len(ray.leases), len(display.notes)) == (6, 5, 2)
    assert "batch size 1, 1 thread" in display.notes[0]
    assert len(outcome.folder.trials()) == 6 * 2  # none of them twice


def test_nodes_that_are_lost_again_and_again_end_the_run_which_resumes(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    ray.lost = 9
    with pytest.raises(SparsebenchError, match="3 nodes were lost with the same group"):
        go(LENT, tmp_path / "R", address)
    ray.lost = 0
    ray.leases.clear()
    outcome, _ = go(LENT, tmp_path / "R", address, resume=True)
    assert (outcome.measured, len(timed(ray))) == (6, 3)


def test_resuming_measures_whole_groups_that_lack_a_record(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    outcome, _ = go(PLAN, tmp_path / "R", address)
    gone = outcome.folder.records()[0].id
    path = tmp_path / "R/records.jsonl"
    kept = [text for text in path.read_text().splitlines(keepends=True) if gone not in text]
    path.write_text("".join(kept))
    ray.leases.clear()
    outcome, _ = go(PLAN, tmp_path / "R", address, resume=True)
    assert (outcome.measured, len(timed(ray))) == (6, 1)
    # The old trials, here with the names of the new ones, do not count beside them.
    assert all(trial.status == "ok" for trial in outcome.folder.trials())
    told = [Trial.from_json(line) for line in lines(tmp_path / "R/trials.jsonl")]
    assert sum(t.status == "discarded" and "whole, on one machine" in str(t.reason) for t in told)
    ray.leases.clear()
    go(PLAN, tmp_path / "R", address, resume=True)
    assert not ray.leases


def test_two_tasks_of_one_name_stay_two(ray: PretendedRay, address: str, tmp_path: Path) -> None:
    folders = [tmp_path / side / "pics" for side in "xy"]
    for folder in folders:
        folder.mkdir(parents=True)
    plan = replace(PLAN, tasks=tuple(map(str, folders)), sweep={})
    outcome, _ = go(plan, tmp_path / "R", address)
    assert {r.task.name for r in outcome.folder.records()} == {"x/pics", "y/pics"}


def test_what_a_node_cannot_do_is_said_with_its_name(
    ray: PretendedRay, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused_by(look: Callable[..., object]) -> str:
        monkeypatch.setattr(cluster, "look", look)
        with pytest.raises(SparsebenchError) as told:
            go(PLAN, tmp_path / "R", address, resume=True)
        assert not ray.leases
        return str(told.value)

    here = importlib.import_module("sparsebench").__version__

    def no_suite(*given: object) -> object:
        raise ModuleNotFoundError("No module named 'sparsebench'")

    assert "10.0.0.2 cannot run sparsebench: No module named" in refused_by(no_suite)

    def silent(*given: object) -> object:
        raise GetTimeoutError("Get timed out: some object(s) not ready.")

    assert "10.0.0.2 did not answer within 120 s" in refused_by(silent)
    assert "10.0.0.2 has sparsebench 0.0.1" in refused_by(lambda *_: Looked("0.0.1", 2, ()))
    assert "10.0.0.2 lacks what the plan names: a.pth." in refused_by(
        lambda *_: Looked(here, 2, ("a.pth",))
    )
    assert "Take --threads 0 or fewer" in refused_by(lambda *_: Looked(here, 0, ()))
    monkeypatch.undo()


def test_what_stops_a_group_on_its_node_stops_the_run(
    ray: PretendedRay, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "measure", lambda *_: Refused("n7", "No disk.", "Free some."))
    with pytest.raises(SparsebenchError, match="On node n7: No disk. Free some."):
        go(PLAN, tmp_path / "R", address)

    def bug(*given: object) -> object:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cluster, "measure", bug)
    with pytest.raises(SparsebenchError, match="batch size 1.*: division by zero"):
        go(PLAN, tmp_path / "R", address, resume=True)


def test_a_cluster_without_a_node_for_it_says_how_to_offer_one(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    ray.nodes_ = [node(Resources={"sparsebench_node": 0})]
    with pytest.raises(SparsebenchError, match="offers the resource 'sparsebench_node'.*ray start"):
        go(PLAN, tmp_path / "R", address)


def test_addresses_where_no_cluster_is(ray: PretendedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("here", "10.0.0.1", ":6379", "10.0.0.1:0", "10.0.0.1:x"):
        with pytest.raises(SparsebenchError, match="no address of a Ray cluster"):
            Cluster(text)
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(SparsebenchError, match=f"Nobody answers at {free}"):
        Cluster(free, wait=0.2)

    def init(**options: object) -> None:
        raise RuntimeError("Version mismatch: the cluster has Ray 1\nmore")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(SparsebenchError, match="cannot be joined: Version mismatch"):
        Cluster("auto")


def test_without_ray_the_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "find_spec", lambda name: None)
    told = cli("run", "quick", "--ray", "10.0.0.1:6379")
    assert told.code == 2
    assert "--ray needs Ray" in told.err and "[ray]" in told.err


def test_a_leased_group_gives_what_a_run_writes(
    cli: Cli, images: Path, ray: PretendedRay, address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The whole way but for Ray: the measuring is true, and its outcomes come along."""
    monkeypatch.setattr(cluster, "measure", leased.measure)
    options = [*SMALL, "--engine", "onnxruntime", "--task", images, "--repeats", 1]
    options += ["--workload", "linear-cached", "--out", tmp_path / "R", "--ray", address]
    result = cli("run", "quick", *options)
    assert result.code == 0, result.err
    records = RunFolder.reading(tmp_path / "R").records()
    assert [record.backbone.is_dense for record in records] == [True, False]
    for record in records:
        assert (record.status, record.run, record.task.name) == ("ok", "R", images.name)
        assert record.machine["fingerprint"] == machine_facts()["fingerprint"]
        assert record.accuracy is not None and record.accuracy.outcomes is not None


def test_what_needs_no_clock_shares_a_node_and_comes_before_the_clock(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    """Of three groups with two networks each, on nodes of 8 and 4 processors, at one thread."""
    ray.nodes_ = [node(8, Resources={"memory": 8e9}), node(4, Resources={"memory": 64e9})]
    outcome, _ = go(PLAN, tmp_path / "R", address)
    assert outcome.measured == 6
    shares = [one for one in ray.leases if one not in timed(ray)]
    # A quarter of the processors, or 2 x 0.6 GB and the images' numbers of 8 GB: the larger.
    assert [(one["num_cpus"], one["resources"]["sparsebench_node"]) for one in shares] == [
        (1, 0.25)
    ] * 6
    assert ray.leases.index(timed(ray)[0]) >= 2


def test_where_memory_is_short_a_share_is_larger(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    ray.nodes_ = [node(64, Resources={"memory": 2.4e9})]
    go(PLAN, tmp_path / "R", address)
    shares = {one["resources"]["sparsebench_node"] for one in ray.leases} - {1}
    assert all(0.5 <= share < 0.6 and share == round(share, 4) for share in shares) and shares


def test_a_plan_that_is_timed_throughout_has_no_shares(
    ray: PretendedRay, address: str, tmp_path: Path
) -> None:
    go(LENT, tmp_path / "R", address)
    assert len(ray.leases) == len(timed(ray)) == 3


def test_a_lost_share_is_done_again(ray: PretendedRay, address: str, tmp_path: Path) -> None:
    ray.lost = 1
    outcome, display = go(PLAN, tmp_path / "R", address)
    assert (outcome.measured, len(ray.leases), len(timed(ray))) == (6, 6 + 1 + 3, 3)
    assert display.notes == [
        "A node was lost; done again on another: the accuracy of resnet18/dense@generated in "
        "resnet18 on digits, 224 px, batch size 1, 1 thread."
    ]


def test_heads_of_a_share_are_those_of_the_record(
    cli: Cli, images: Path, ray: PretendedRay, address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The whole way but for Ray, beside a run without one."""
    monkeypatch.setattr(cluster, "measure", leased.measure)
    monkeypatch.setattr(cluster, "find_out", leased.find_out)
    options = [*SMALL, "--engine", "onnxruntime", "--task", images, "--repeats", 1, "--seed", 0]
    options += ["--seed", 1, "--workload", "inference", "--set", "inference.min_seconds=0.01"]
    assert cli("run", "quick", *options, "--out", tmp_path / "R", "--ray", address).code == 0
    assert cli("run", "quick", *options, "--out", tmp_path / "H").code == 0
    shared, here = (RunFolder.reading(tmp_path / name).records() for name in "RH")
    assert len(shared) == len(here) == 2
    for one, other in zip(shared, here, strict=True):
        assert one.accuracy is not None and other.accuracy is not None
        assert one.accuracy.per_seed == other.accuracy.per_seed
        assert one.accuracy.outcomes is not None and one.accuracy.seeds == (0, 1)
        assert one.extra["scored_on"] == machine_facts()["fingerprint"]
        assert "scored_on" not in other.extra
