"""The training process: its answers, its death, its retries."""

from __future__ import annotations

import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.training import launch
from sparsebench.bench.training.job import Job
from sparsebench.bench.training.launch import Answers, run_job
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError
from tests.bench.training.small import DENSE, SPARSE, trained_here

CARD = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(scope="module")
def job(images: Path) -> Job:
    return Job(
        backbone="resnet18/gmp-90",
        task=str(images),
        task_options={},
        preprocessing=CARD,
        recipe=TrainRecipe("short", 1, 0.02, 12),
        seeds=(4, 5),
        validation=0.2,
        device="cpu",
        precision="fp32",
        threads=1,
    )


@pytest.fixture(scope="module")
def natively(job: Job) -> Answers:
    """What one seed's training on the suite's own kernels said."""
    return run_job(replace(job, kernels=True, seeds=(4,)), timeout=300, say=lambda text: None)


def test_a_job_survives_its_journey(job: Job) -> None:
    assert Job.from_json(job.to_json()) == job


def test_two_seeds_in_a_fresh_process(job: Job) -> None:
    said: list[str] = []
    answers = run_job(job, timeout=300, say=said.append)
    assert [one.seed for one in answers.trained] == [4, 5]
    assert all(sum(one.stages.values()) == pytest.approx(one.seconds) for one in answers.trained)
    assert all(one.facts["peak_memory_bytes"] > 1e8 for one in answers.trained)
    assert answers.facts["tuning"]["execution"] in answers.facts["tuning"]["seconds"]
    assert any("epoch 1/1" in text for text in said)


def test_the_native_kernels_say_which_layers_ran_sparse(natively: Answers) -> None:
    layers = natively.facts["layers"]
    assert "layer1.0.conv1" in layers and len(layers) == 20  # all convolutions of ResNet-18
    assert {layer["execution"] for layer in layers.values()} <= {"sparse", "dense"}
    for layer in layers.values():
        assert (layer["forward"] == "generated") is not bool(layer["why_not"])
        assert layer["backward"] in ("generated", "compiled", "generated+compiled")
    assert natively.trained[0].facts["execution"]["kernels"]
    assert natively.trained[0].facts["compile_seconds"] > 0  # reported apart, outside of the clock


def test_a_dense_network_trains_in_pytorch_where_that_is_faster_as_a_whole(job: Job) -> None:
    """Seen: every layer faster on the kernels, the network 2.5 times slower than PyTorch's."""
    answers = trained_here(replace(job, backbone=DENSE, kernels=True))
    # Processor time decides: the wall clock also counts what else the machine does.
    steps = answers.facts["tuning"]["processor_seconds"]
    assert set(steps) == {"contiguous", "channels-last", "channels-last products", "kernels"}
    fastest = min(steps, key=lambda name: steps[name])
    assert answers.facts["tuning"]["execution"] == fastest
    for one in answers.trained:
        assert one.facts["execution"]["kernels"] == (fastest == "kernels")
        assert one.facts["execution"]["channels_last"] == fastest.startswith("channels-last")
        assert one.facts["execution"]["products"] == fastest.endswith(" products")


def test_what_an_earlier_block_found_is_not_tried_out_again(job: Job) -> None:
    found = {"block": 2, "channels_last": True, "products": True, "kernels": False, "layers": {}}
    answers = trained_here(replace(job, backbone=SPARSE, tuned=found))
    assert all(one.facts["execution"]["channels_last"] for one in answers.trained)
    assert all(one.facts["execution"]["products"] for one in answers.trained)
    assert answers.facts["tuned_in_block"] == 2
    assert "tuning" not in answers.facts


def test_graphs_of_an_earlier_block_that_cannot_be_had_are_done_without(job: Job) -> None:
    """Here because there is no GPU; on one, because something else took its memory."""
    found = {"block": 0, "channels_last": False, "kernels": False, "graphs": True, "layers": {}}
    job = replace(job, backbone=SPARSE, tuned=found, seeds=(4,))
    (one,) = trained_here(job).trained
    assert "cannot be captured" in one.facts["without_graphs"]
    assert one.facts["execution"]["graphs"] is False
    in_pieces = replace(job, accumulate=2)
    (one,) = trained_here(in_pieces).trained
    assert "without_graphs" not in one.facts  # pieces never had any


def test_the_layers_of_an_earlier_block_run_as_they_were_found(job: Job) -> None:
    native = replace(job, backbone=SPARSE, kernels=True, seeds=(4,))
    layers = deepcopy(trained_here(native).facts["layers"])
    layer = layers["3"]  # the second convolution; whatever was found is turned around
    layer["execution"] = "sparse" if layer["execution"] == "dense" else "dense"
    found = {"block": 0, "channels_last": False, "kernels": True, "layers": layers}
    answers = trained_here(replace(native, tuned=found))
    assert answers.facts["layers"] == layers
    assert answers.trained[0].facts["execution"]["kernels"]


def test_a_wrong_task_is_the_users_mistake_and_keeps_its_fix(job: Job) -> None:
    with pytest.raises(SparsebenchError, match="nowhere"):
        run_job(replace(job, task="nowhere/at/all"), timeout=60, say=lambda text: None)


def fake(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Let a script stand in for the training process."""
    script = folder / "process.py"
    script.write_text(f"import json, os, signal, sys, time\njob = json.load(sys.stdin)\n{body}")
    monkeypatch.setattr(launch, "COMMAND", (sys.executable, str(script)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("print('what a pity', file=sys.stderr); sys.exit(3)", "what a pity"),
        ("time.sleep(60)", "hung"),
        ("pass", "no reason given"),
    ],
)
def test_a_process_that_dies_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job, body: str, message: str
) -> None:
    fake(monkeypatch, tmp_path, body)
    with pytest.raises(SparsebenchError, match=message):
        run_job(job, timeout=2, say=lambda text: None)


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_a_training_dies_with_a_killed_run_and_first_when_memory_runs_out(
    tmp_path: Path, job: Job
) -> None:
    """Seen: after kill -9 of a run its training computed on."""
    child = (
        "import json, os, time\nfrom sparsebench.bench.training import process\n"
        "def work(job, answers, group):\n"
        "    print(json.dumps({'say': str(os.getpid())}), file=answers)\n"
        "    time.sleep(60)\n"
        "process._work = work\nprocess.main()\n"
    )
    parent = (
        "import sys\nfrom sparsebench.bench.training import launch\n"
        "from sparsebench.bench.training.job import Job\n"
        f"launch.COMMAND = (sys.executable, '-c', {child!r})\n"
        "job = Job.from_json(sys.argv[1])\n"
        "launch.run_job(job, timeout=60, say=lambda text: print(text, flush=True))\n"
    )
    command = [sys.executable, "-c", parent, job.to_json()]
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(launch.__file__).parents[2]
    )
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
    run.kill()
    run.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _computes(pid):
        time.sleep(0.05)
    assert not _computes(pid)


def _computes(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_out_of_memory_is_tried_again_in_pieces_and_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Job
) -> None:
    trained = {
        "seed": 4, "seconds": 1.0, "stages": {}, "busy": {}, "epochs": [], "last": 0.5,
        "best": 0.5, "best_epoch": 0, "facts": {},
    }  # fmt: skip
    body = (
        "if job['accumulate'] < 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"print(json.dumps({{'trained': {trained}}}))"
    )
    fake(monkeypatch, tmp_path, body)
    said: list[str] = []
    answers = run_job(replace(job, seeds=(4,)), timeout=20, say=said.append)
    assert answers.facts["accumulated_after_out_of_memory"] == 4
    assert "again with every batch in 2 pieces" in said[0]
    fake(monkeypatch, tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(SparsebenchError, match="ran out of memory"):
        run_job(job, timeout=20, say=said.append)
