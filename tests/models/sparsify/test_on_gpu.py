"""The same trainings on a CUDA GPU: what they promise on a CPU holds there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sparsebench.models.architectures import ARCHITECTURES, build
from sparsebench.models.blocks import broken_blocks
from sparsebench.models.checkpoints.compact import load_compact
from sparsebench.models.images import open_images
from sparsebench.models.images.labelled import ReadOptions
from sparsebench.models.masks import mask_of
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.evaluate import evaluate
from sparsebench.models.sparsify.produce import Produced, sparsify
from sparsebench.models.sparsify.resume import Progress
from sparsebench.models.sparsify.train import Execution
from tests.models.sparsify.tiny import SIZE, write_folder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA GPU here.")
ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
SIDES = [[0.0, 6], [0.5, SIZE]]


class Killed(BaseException):
    """Stands for the process dying."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), train=48, test=20)


def make(method: str, level: float, data: Path, folder: Path, **changes: Any) -> Produced:
    settings: dict[str, Any] = {
        "size": SIZE,
        "device": "cuda",
        "reading": ReadOptions(folder / "cache"),
        "recipe": {"batch_size": 8, "learning_rate": 0.05, "sides": SIDES},
        "execution": Execution(report_steps=1),
    }
    out = folder / changes.pop("out", "out.safetensors")
    return sparsify("tiny", method, level, data, 8, out, **settings | changes)


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_method_reaches_its_sparsity_and_writes_what_the_cpu_measures(
    method: str, precision: str, data: Path, tmp_path: Path
) -> None:
    execution = Execution(precision=precision, report_steps=1)
    dense = make("dense", 0.0, data, tmp_path, out="dense.safetensors", execution=execution)
    level = 0.0 if method == "dense" else 0.75
    made = make(method, level, data, tmp_path, start=dense.path, execution=execution)
    assert abs(made.sparsity - level) < (0.06 if method == "structured" else 0.001)
    module = build("tiny", 2)
    module.load_state_dict(load_compact(made.path)[0])
    images = open_images(data, ReadOptions(tmp_path / "cache"))
    assert made.accuracy == evaluate(module, images, made.preprocessing)
    if method != "lth":
        assert made.accuracy > 0.7


@pytest.mark.parametrize("method", [m for m in METHODS.names() if METHODS.load(m).has_blocks])
def test_blocks_are_whole(method: str, data: Path, tmp_path: Path) -> None:
    dense = make("dense", 0.0, data, tmp_path, out="dense.safetensors")
    made = make(method, 0.5, data, tmp_path, start=dense.path, block=4)
    module = build("tiny", 2)
    module.load_state_dict(load_compact(made.path)[0])
    assert broken_blocks(mask_of(module), 4) == 0


@pytest.mark.parametrize("method", METHODS.names())
def test_a_killed_training_goes_on(method: str, data: Path, tmp_path: Path) -> None:
    def die(report: Progress) -> None:
        if report.step == 20:
            raise Killed

    dense = make("dense", 0.0, data, tmp_path, out="dense.safetensors")
    level = 0.0 if method == "dense" else 0.75
    often = Execution(checkpoint_seconds=0.0, report_steps=1)
    again = {"start": dense.path, "execution": often}
    with pytest.raises(Killed):
        make(method, level, data, tmp_path, progress=die, **again)
    assert (tmp_path / "out.safetensors.ckpt").exists()
    seen: list[int] = []
    make(method, level, data, tmp_path, progress=lambda r: seen.append(r.step), **again)
    assert seen[0] == 20 or seen[0] == 21
