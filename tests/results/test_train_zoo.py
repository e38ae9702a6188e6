"""The zoo trained anew: one dense half for all that start from one, and a failure costs little."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import tomli_w

from sparsebench.models.checkpoints.compact import load_compact
from sparsebench.models.sparsify.plans import read_plan
from sparsebench.models.zoo import find_card
from sparsebench.results.scripts import train_zoo
from sparsebench.results.scripts.train_zoo import Job, jobs, train_all
from tests.models.sparsify.tiny import write_folder

NAMES = ["resnet18-dense", "resnet18-gmp-90", "resnet18-gmp_uniform_block4-90", "resnet18-lth-90"]


def test_all_have_as_many_epochs_and_share_a_dense_half() -> None:
    half, dense, *pruned = jobs(NAMES, 30)
    assert (half.plan["method"], half.plan["epochs"], half.after) == ("dense", 15, None)
    assert (
        "block" not in half.plan
        and half.plan["recipe"]["sides"] == pruned[0].plan["recipe"]["sides"]
    )
    assert dense.after is None and {job.after for job in pruned} == {half.name}
    assert all(job.plan["epochs"] == 30 and "start" not in job.plan for job in [dense, *pruned])


def test_plans_that_differ_in_their_recipe_share_nothing(tmp_path: Path) -> None:
    for name, batch in (("a", 8), ("b", 16)):
        plan = {"arch": "resnet18", "method": "gmp", "sparsity": 0.9, "epochs": 2}
        (tmp_path / f"{name}.toml").write_text(
            tomli_w.dumps({**plan, "recipe": {"batch_size": batch}})
        )
    one, other, a, b = jobs(["a", "b"], 4, tmp_path)
    assert (a.after, b.after) == (one.name, other.name)


def started(commands: list[str], failing: str = "") -> train_zoo.Start:
    """Writes the file at once, or fails."""

    def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        commands.append(Path(arguments[3]).name)
        code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(b'weights')"
        if Path(arguments[3]).stem == failing:
            code = "import sys; sys.exit(2)"
        return subprocess.Popen([sys.executable, "-c", code, arguments[3]])

    return start


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    todo = [Job("half", {}), Job("a", {}), Job("b", {}, after="half")]
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    commands: list[str] = []
    assert train_all(todo, tmp_path, 2, started(commands)) == []
    assert commands == ["half.safetensors", "b.safetensors"]
    assert (tmp_path / "b.dense.safetensors").read_bytes() == b"weights"


def test_what_needs_a_failed_half_is_named_and_the_rest_is_trained(tmp_path: Path) -> None:
    todo = [Job("half", {}), Job("a", {}), Job("b", {}, after="half")]
    commands: list[str] = []
    assert train_all(todo, tmp_path, 2, started(commands, "half")) == ["half", "b"]
    assert sorted(commands) == ["a.safetensors", "half.safetensors"]


def test_the_second_half_starts_from_the_shared_one(tmp_path: Path) -> None:
    """The command line as it is, on a CPU: a file says the whole budget."""
    plan = read_plan(train_zoo.PLANS / "resnet18-gmp-90.toml")
    plans, out = tmp_path / "plans", tmp_path / "out"
    plans.mkdir()
    out.mkdir()
    plan |= {"size": 32, "recipe": {"batch_size": 8}, "execution": {"precision": "fp32"}}
    (plans / "net.toml").write_text(tomli_w.dumps(plan))
    data = write_folder(tmp_path / "pictures")
    start = train_zoo._starter(data, ["--device", "cpu", "--no-compile"])
    assert train_all(jobs(["net"], 2, plans), out, 1, start) == []
    _, said = load_compact(out / "net.safetensors")
    half = (out / "resnet18-half-0.safetensors").read_bytes()
    assert said["start"] == f"file with sha256 {hashlib.sha256(half).hexdigest()}"
    assert said["epochs"] == "1"
    card = find_card(str(out / "net.safetensors"))
    assert card.budget is not None and card.budget.epochs == 2
