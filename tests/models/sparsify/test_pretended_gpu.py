"""Trainings on a pretended GPU: nothing is left on the host, and the result is the CPU's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.checkpoints.compact import load_compact
from sparsebench.models.images.labelled import ReadOptions
from sparsebench.models.methods import METHODS
from sparsebench.models.sparsify.produce import sparsify
from sparsebench.models.sparsify.train import Execution
from tests.models.sparsify.tiny import SIZE, write_folder
from tests.pretended_gpu import pretended_gpu

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
CASES = [(name, 1) for name in METHODS.names()]
CASES += [(name, 4) for name in METHODS.names() if METHODS.load(name).has_blocks]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), train=48, test=20)


@pytest.fixture(scope="module")
def start(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense network that was trained for a moment."""
    folder = tmp_path_factory.mktemp("start")
    path, reading = folder / "dense.safetensors", ReadOptions(folder / "cache")
    sparsify("tiny", "dense", 0.0, data, 2, path, size=SIZE, reading=reading)
    return path


def test_it_is_as_strict_as_a_gpu() -> None:
    with pretended_gpu():
        there = torch.ones(2, device="cuda")
        assert there.device.type == "cuda" and there.is_cuda
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(2)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (there + torch.ones(2).to("cuda")).cpu().tolist() == [2.0, 2.0]


@pytest.mark.parametrize(("method", "block"), CASES)
def test_every_method_computes_there_what_it_computes_on_the_cpu(
    method: str, block: int, data: Path, start: Path, tmp_path: Path
) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        with pretended_gpu():
            made = sparsify(
                "tiny",
                method,
                0.0 if method == "dense" else 0.5,
                data,
                4,
                tmp_path / f"{device}.safetensors",
                start=start,
                size=SIZE,
                device=device,
                block=block,
                teacher=start if method == "gmp" else None,
                recipe={"batch_size": 8, "learning_rate": 0.05, "sides": [[0.0, 6], [0.5, SIZE]]},
                execution=Execution(precision="fp32", graphs=False),
                reading=ReadOptions(tmp_path / "cache"),
            )
        found[device] = (load_compact(made.path)[0], made.accuracy)
    (cpu, accuracy), (gpu, there) = found["cpu"], found["cuda"]
    assert accuracy == there
    for key, value in cpu.items():
        assert torch.equal(value, gpu[key]), key
