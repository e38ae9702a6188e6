"""``--dry-run`` refuses what cannot run here, says what would be fetched, and fetches nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import sparsebench.bench.tasks.download
from sparsebench.bench.plan.obstacles import photos_instead
from sparsebench.bench.plan.plan import load_plan
from sparsebench.exporters.engines.base import Availability
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine
from sparsebench.exporters.worker import environments
from tests.bench.conftest import Result

Cli = Callable[..., Result]
PLAN = (
    "run", "quick", "--dry-run", "--backbone", "resnet18/uniform-90@generated", "--engine",
    "onnxruntime", "--workload", "inference", "--limit", 40,
)  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run that asks the network for anything fails."""

    def ask(*arguments: object) -> None:
        raise AssertionError("a dry run asked the network")

    # In this order: the first import of `sets` binds the true one.
    monkeypatch.setattr("sparsebench.bench.tasks.sets.reach", ask)
    monkeypatch.setattr(sparsebench.bench.tasks.download, "reach", ask)
    monkeypatch.setattr("urllib.request.urlopen", ask)


def test_what_can_run_is_not_refused(cli: Cli) -> None:
    found = cli(*PLAN, "--json")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert (told["refused"], told["fetched"], len(told["cells"])) == ([], [], 2)


def test_a_busy_machine_is_said_beside_the_estimate(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a cell took on a quiet machine says little of a busy one."""
    monkeypatch.setattr("sparsebench.bench.comparisons.busy.busy_now", lambda: "It is busy.")
    assert "Note: It is busy." in cli(*PLAN).err
    monkeypatch.setattr("sparsebench.bench.comparisons.busy.busy_now", lambda: None)
    assert "busy" not in cli(*PLAN).err


def test_what_a_preset_leaves_out_of_a_large_network_is_said(cli: Cli) -> None:
    small = [word for word in PLAN if word not in ("--limit", 40)]
    found = cli(*small, "--size", 224)
    assert found.code == 0, found.err
    assert "380 of the 1,797 images" in found.err
    assert "380 of" not in cli(*PLAN, "--size", 224).err  # a limit that is given stays


def test_photographs_at_hand_are_offered_in_the_place_of_scans(cli: Cli, tmp_path: Path) -> None:
    """`quick` measures the same scans everywhere; photographs are one option away."""
    here = (*PLAN, "--data-dir", tmp_path)
    assert "Photographs" not in cli(*here).err
    (tmp_path / "cifar-100-python").mkdir()
    assert "Photographs are on this machine: add `--task cifar100`." in cli(*here).err
    for name in ("images", "labels/train1.txt", "labels/val1.txt", "labels/test1.txt"):
        (tmp_path / "dtd" / name).mkdir(parents=True)
    assert "add `--task dtd`" in cli(*here).err
    photos = load_plan("quick").with_changes(tasks=("cifar100",), data_dir=str(tmp_path))
    assert photos_instead(photos) == ""


def test_a_sweep_lists_each_value(cli: Cli) -> None:
    found = cli(*PLAN, "--batch-size", 1, "--batch-size", 16)
    assert found.code == 0, found.err
    for size in (1, 16):
        assert f"resnet18/dense@generated on onnxruntime, batch size {size}" in found.out


def test_a_task_that_is_not_here_is_told_with_its_size_and_not_fetched(
    cli: Cli, tmp_path: Path
) -> None:
    found = cli(*PLAN, "--task", "pets", "--data-dir", tmp_path)
    assert found.code == 0, found.err
    assert f"the run fetches the images of pets (811 MB) into {tmp_path}" in found.out
    refused = cli(*PLAN, "--task", "birdsnap", "--data-dir", tmp_path)
    assert refused.code == 2
    assert "birdsnap is not in" in refused.err and "no archive to fetch" in refused.err


def test_files_that_are_not_here_are_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSEBENCH_PAPER", raising=False)
    found = cli(*PLAN[:-4], "--workload", "inference", "--backbone", "resnet50/acdc-90@paper")
    assert found.code == 2
    assert "'resnet50/acdc-90@paper' has no folder to be looked for in" in found.err
    assert "Nothing was run." in found.out  # all cells are listed all the same


def test_weights_that_torchvision_would_download_are_told_with_their_size(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = cli(*PLAN, "--backbone", "resnet18/dense@torchvision")
    assert found.code == 0, found.err
    assert "the run fetches torchvision's weights for resnet18 (45 MB)." in found.out


def test_an_engine_that_is_not_installed_is_refused_with_its_fix(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Availability(False, "ONNX Runtime is not installed.", fix="pip install onnxruntime")
    monkeypatch.setattr(OnnxRuntimeEngine, "available", lambda self: missing)
    found = cli(*PLAN)
    assert found.code == 2
    assert "onnxruntime: ONNX Runtime is not installed. Fix: pip install onnxruntime" in found.err


def test_an_environment_that_the_run_builds_is_told_and_an_impossible_one_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "interpreter", lambda name: None)
    built = cli(*PLAN, "--engine", "deepsparse")
    assert built.code == 0, built.err
    assert "the run fetches an environment for deepsparse" in built.out
    monkeypatch.setattr(environments, "unsupported", lambda name: "it is a toaster")
    refused = cli(*PLAN, "--engine", "deepsparse")
    assert refused.code == 2
    assert "deepsparse is not for this machine: it is a toaster." in refused.err


def test_a_precision_that_an_engine_lacks_is_refused_before_anything_is_opened(cli: Cli) -> None:
    found = cli(*PLAN, "--precision", "bf16")
    assert found.code == 2
    assert "onnxruntime does not compute in bf16." in found.err and "These do:" in found.err


def test_one_that_it_has_for_trainings_alone_is_refused_with_these_words(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativeEngine, "precisions", ("fp32",))
    monkeypatch.setattr(NativeEngine, "training_precisions", ("fp32", "bf16"))
    found = cli(*PLAN, "--engine", "native:bf16")
    assert found.code == 2
    assert "The engine native does not compute in bf16 outside of trainings." in found.err


def test_a_gpu_that_is_not_here_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen: exit code 0, and every cell of the run failed."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = cli(*PLAN, "--engine", "torch", "--device", "cuda")
    assert found.code == 2
    assert "Cannot run: PyTorch finds no GPU here (device = cuda)." in found.err


def test_a_checkpoint_that_is_not_here_is_called_so(cli: Cli) -> None:
    """Seen: "'nope.pth' is not a valid backbone name." and four lines on names."""
    for name in ("nope.pth", "folder/nope.safetensors#ema"):
        found = cli(*PLAN, "--backbone", name, "--dense", "auto")
        assert found.code == 2
        assert f"There is no file '{name}'." in found.err


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        (("--rate", 50, "--streams", 2), "--rate, --streams have no effect here"),
        (("--set", "full.epochs=3"), "--set full.epochs has no effect here"),
        (("--lr", 0.1, "--train-epochs", 3), "--train-epochs, --lr have no effect here"),
        (("--prepared",), "--prepared has no effect here: this run measures inference"),
        (("--budget", 60), "--budget has no effect here"),
        (("--epochs", 5), "--epochs has no effect here: .*inference, heads by lbfgs"),
    ],
)
def test_an_option_without_effect_is_said(cli: Cli, options: tuple[object, ...], idle: str) -> None:
    """A run measured without requests a second, and nothing said so."""
    done = cli(*PLAN, *options)
    assert done.code == 0, done.err
    assert re.search(f"Note: {idle}", done.err)


def test_an_option_with_effect_is_not(cli: Cli) -> None:
    heard = ("--budget", 60, "--half-width", "3%", "--solver", "sgd", "--epochs", 5)
    done = cli(*PLAN, *heard, "--set", "inference.validation=0.2")
    assert done.code == 0, done.err
    assert "no effect" not in done.err
