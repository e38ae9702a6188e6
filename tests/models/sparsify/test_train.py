from __future__ import annotations

import math
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.method import Method, Recipe, Run
from sparsebench.models.sparsify.resume import Progress
from sparsebench.models.sparsify.train import Execution, train
from tests.models.sparsify.tiny import network, random_images, weights_of

RECIPE = Recipe(batch_size=8, learning_rate=0.05)
EXECUTION = Execution(precision="fp32", checkpoint_seconds=0.0, report_steps=1)


class Killed(BaseException):
    """Stands for the process dying."""


def fresh() -> nn.Module:
    torch.manual_seed(3)
    return network()


def run(
    module: nn.Module, method: Method, checkpoint: Path | None, kill_after: int | None = None
) -> list[Progress]:
    def progress(report: Progress) -> None:
        if report.step == kill_after:
            raise Killed

    return train(
        module,
        weights_of(module),
        random_images(),
        method,
        RECIPE,
        8,
        seed=5,
        checkpoint=checkpoint,
        execution=EXECUTION,
        progress=progress,
    )


@cache
def uninterrupted(name: str) -> tuple[list[Progress], dict[str, Tensor]]:
    """History and weights of a training that nothing happens to."""
    module = fresh()
    history = run(module, METHODS.load(name)(_sparsity(name)), None)
    return history, module.state_dict()


def _sparsity(name: str) -> float:
    return 0.0 if name == "dense" else 0.8


@pytest.mark.parametrize("name", METHODS.names())
@pytest.mark.parametrize("kill_after", [2, 15, 29])
def test_a_killed_training_ends_where_an_uninterrupted_one_ends(
    name: str, kill_after: int, tmp_path: Path
) -> None:
    sparsity = _sparsity(name)
    history, whole = uninterrupted(name)
    checkpoint = tmp_path / "training.ckpt"
    with pytest.raises(Killed):
        run(fresh(), METHODS.load(name)(sparsity), checkpoint, kill_after)
    # A new process knows nothing but the file: other first weights, a new method.
    torch.manual_seed(99)
    resumed = network()
    again = run(resumed, METHODS.load(name)(sparsity), checkpoint)

    assert again == history
    for key, value in whole.items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_an_interrupt_lets_the_step_end_and_saves(tmp_path: Path) -> None:
    """Ctrl-C at any moment: the step ends, a checkpoint of it is written, nothing is lost."""
    history, _ = uninterrupted("acdc")
    checkpoint = tmp_path / "training.ckpt"

    class Interrupting(METHODS.load("acdc")):  # type: ignore[misc]
        def before_step(self, run: Run, step: int) -> None:
            if step == 10:
                signal.raise_signal(signal.SIGINT)
            super().before_step(run, step)

    with pytest.raises(KeyboardInterrupt):
        module = fresh()
        train(
            module,
            weights_of(module),
            random_images(),
            Interrupting(0.8),
            RECIPE,
            8,
            seed=5,
            checkpoint=checkpoint,
            execution=replace(EXECUTION, checkpoint_seconds=1e9),
        )
    assert torch.load(checkpoint)["step"] == 11
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = run(network(), METHODS.load("acdc")(0.8), checkpoint)
    assert again[1:] == history[1:]


def _flipped(data: bytes, place: float) -> bytes:
    at = int(len(data) * place)
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


class Runs:
    """What a pickle can run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("ran",))


def _changed(path: Path, **changes: Any) -> None:
    state = torch.load(path)
    torch.save({key: v for key, v in {**state, **changes}.items() if v is not None}, path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_bytes(b"PK not a checkpoint"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a weight's bit": lambda path: path.write_bytes(_flipped(path.read_bytes(), 0.5)),
    "the directory": lambda path: path.write_bytes(_flipped(path.read_bytes(), 0.995)),
    "the head": lambda path: path.write_bytes(_flipped(path.read_bytes(), 0.0)),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "code": lambda path: path.write_bytes(pickle.dumps(Runs())),
    "a list": lambda path: torch.save([1, 2], path),
    "no network": lambda path: _changed(path, module=None),
    "another network": lambda path: _changed(path, module={"weight": torch.zeros(3)}),
    "no masks": lambda path: _changed(path, method={}),
    "no momentum": lambda path: _changed(path, optimizer={"state": {}, "param_groups": []}),
    "a step of text": lambda path: _changed(path, step="11"),
    "a step behind the end": lambda path: _changed(path, step=10**9),
    "sums": lambda path: _changed(path, sums=[math.nan, 0.0, 0.0]),
    "history": lambda path: _changed(path, history=[{"epoch": 1}]),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training leaves that is killed at its step 15: two checkpoints."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        run(fresh(), METHODS.load("acdc")(0.8), folder / "training.ckpt", 15)
    return folder


@pytest.mark.parametrize("both", [False, True], ids=["last", "both"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_loses_nothing_but_time(
    damage: str,
    both: bool,
    killed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On from the one before, or again; said either way, and the end is the same."""
    monkeypatch.chdir(tmp_path)
    history, whole = uninterrupted("acdc")
    checkpoint = shutil.copytree(killed, tmp_path, dirs_exist_ok=True) / "training.ckpt"
    files = sorted(tmp_path.glob("training.ckpt*"))
    assert [file.name for file in files] == ["training.ckpt", "training.ckpt.before"]
    for file in files if both else files[:1]:
        DAMAGES[damage](file)
    resumed = fresh()
    again = run(resumed, METHODS.load("acdc")(0.8), checkpoint)
    assert again == history
    for key, value in whole.items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    assert ("starts again" in caplog.text) == both
    assert ("goes on from" in caplog.text) != both
    assert not (tmp_path / "ran").exists()


def test_what_can_be_learned_is_learned() -> None:
    history = run(fresh(), Method(), None)
    assert len(history) == 8
    assert history[-1].accuracy > 0.9
    assert history[-1].loss < history[0].loss


def test_rate_follows_the_method_and_reports_say_so() -> None:
    reports: list[Progress] = []
    module = fresh()
    train(
        module,
        weights_of(module),
        random_images(),
        Method(),
        RECIPE,
        2,
        execution=EXECUTION,
        progress=reports.append,
    )
    assert [r.step for r in reports] == list(range(1, 13))
    assert [r.epoch_done for r in reports] == ([False] * 5 + [True]) * 2
    peak = max(reports, key=lambda r: r.learning_rate)
    assert peak.learning_rate == pytest.approx(0.05, rel=0.1)
    assert reports[0].learning_rate == 0.0


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.ckpt"
    with pytest.raises(Killed):
        run(fresh(), METHODS.load("acdc")(0.8), checkpoint, kill_after=3)
    with pytest.raises(SparsebenchError, match="another training: sparsity differ"):
        run(fresh(), METHODS.load("acdc")(0.7), checkpoint)


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    module = fresh()
    with torch.no_grad():
        module.get_parameter("7.bias").fill_(float("nan"))
    with pytest.raises(SparsebenchError, match="NaN or infinite"):
        run(module, Method(), None)


def test_a_method_can_skip_the_optimizer() -> None:
    class Frozen(Method):
        def after_backward(self, run: object, step: int) -> bool:
            return False

    module = fresh()
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    run(module, Frozen(), None)
    assert all(torch.equal(p, before[n]) for n, p in module.named_parameters())


def test_images_are_as_large_as_the_recipe_says() -> None:
    recipe = Recipe(batch_size=8, sides=((0.0, 4), (0.25, 6), (0.75, 8)))
    module = fresh()
    seen: list[int] = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
    train(module, weights_of(module), random_images(64), Method(), recipe, 1, execution=EXECUTION)
    assert seen == [4, 4, 6, 6, 6, 6, 8, 8]
    assert Recipe().side(0.3, 64) == 64


def test_too_few_images_for_a_batch_are_refused() -> None:
    module = fresh()
    with pytest.raises(SparsebenchError, match="do not fill a batch"):
        train(module, weights_of(module), random_images(4), Method(), RECIPE, 1)


def test_depthwise_convolutions_train_in_fp32_on_a_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: True)
    plain, depthwise = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
    assert Execution().bf16(nn.Sequential(plain))
    assert not Execution().bf16(nn.Sequential(plain, depthwise))
    assert Execution(precision="bf16").bf16(nn.Sequential(depthwise))
    assert not Execution(precision="fp32").bf16(nn.Sequential(plain))


def test_a_training_of_few_slow_steps_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy host said "reading the images" for 26 minutes, in an epoch of three steps."""
    module, heard = fresh(), list[int]()
    clock = iter(range(0, 10**6, 4))  # seconds; read a few times a step
    monkeypatch.setattr("sparsebench.models.sparsify.train.time.monotonic", lambda: next(clock))
    train(
        module,
        weights_of(module),
        random_images(400),
        METHODS.load("dense")(0.0),
        RECIPE,
        1,
        seed=5,
        execution=Execution(precision="fp32", report_steps=1000),
        progress=lambda report: heard.append(report.step),
    )
    assert heard[0] == 1 and heard[-1] == 50
    assert len(heard) > 10
