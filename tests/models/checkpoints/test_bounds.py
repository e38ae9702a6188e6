"""Reading a file has a bound in time and memory that follows from its size."""

from __future__ import annotations

import json
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.compact import TENSORS_KEY, VERSION_KEY
from sparsebench.models.checkpoints.fit import build_from
from sparsebench.models.errors import SparsebenchError
from tests.models.checkpoints.test_refused import resnet18

State = dict[str, Tensor]
__all__ = ["resnet18"]


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Seconds of this process, and growth of its memory: far below what the file asks for."""
    begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - begun < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # 1 GiB


def _zip(path: Path, pickled: bytes, kind: int) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", b"3\n")
        archive.writestr("a/byteorder", b"little")


def _steps(path: Path) -> None:
    """Two million empty lists, each of 56 bytes and more, from a byte each."""
    _zip(path, b"\x80\x02(" + b"]" * 2_000_000 + b"l.", zipfile.ZIP_STORED)


def _bomb(path: Path) -> None:
    """The same below the size that deflated entries once could have, in a few kilobytes."""
    _zip(path, b"\x80\x02(" + b"]" * 30_000_000 + b"l.", zipfile.ZIP_DEFLATED)


def _bytes(path: Path) -> None:
    """``bytearray(10**11)``, which torch's restricted unpickler allows."""
    code = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (10**11).to_bytes(5, "little") + b"\x85R."
    _zip(path, code, zipfile.ZIP_STORED)


def _legacy(path: Path) -> None:
    path.write_bytes(b"\x80\x02(" + b"]" * 2_000_000 + b"l.")


def _compact(path: Path) -> None:
    """A billion zeros in a kilobyte."""
    about = {"w": {"encoding": "indices", "shape": [2**15, 2**15], "dtype": "float32"}}
    entries = {"w::values": torch.zeros(0), "w::indices": torch.zeros(0, dtype=torch.int32)}
    save_file(entries, path, {VERSION_KEY: "1", TENSORS_KEY: json.dumps(about)})


def _many(path: Path) -> None:
    """Tensors of one number each, which take a thousand times their bytes."""
    save_file({f"t{i}": torch.zeros(1) for i in range(25_001)}, path)


HOSTILE: list[tuple[Callable[[Path], None], str, str]] = [
    (_steps, "a.pth", "a pickle of more than 500,000 steps"),
    (_legacy, "a.pth", "a pickle of more than 500,000 steps"),
    (_bomb, "a.pth", "unpacks to 29 MiB"),
    (_bytes, "a.pth", r"it names builtins\.bytearray"),
    (_many, "a.safetensors", r"lists 25,001 tensors"),
    (_compact, "a.safetensors", r"claims 1.07e\+09 weights"),
]


@pytest.mark.parametrize(("write", "name", "message"), HOSTILE)
def test_what_expands_is_refused_before_it_does(
    tmp_path: Path, write: Callable[[Path], None], name: str, message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(SparsebenchError, match=message):
        load_checkpoint(tmp_path / name)


def test_nan_and_optimizer_state_are_answered_at_once(tmp_path: Path, resnet18: State) -> None:
    spoiled = {n: t * float("nan") if "layer3" in n else t for n, t in resnet18.items()}
    torch.save(spoiled, tmp_path / "a.pth")
    with pytest.raises(SparsebenchError, match="NaN or infinite"):
        inspect_target(str(tmp_path / "a.pth"))
    state = {i: {"exp_avg": t, "exp_avg_sq": t} for i, t in enumerate(resnet18.values())}
    beside = {"optimizer": {"state": state, "param_groups": [{"params": list(state)}]}}
    torch.save({**resnet18, **beside}, tmp_path / "b.pth")
    assert inspect_target(str(tmp_path / "b.pth")).facts["arch"] == "resnet18"


@pytest.mark.parametrize("place", [4, 6, 8, 10])
@pytest.mark.parametrize("mark", [b"PK\x01\x02", b"PK\x05\x06"])
def test_a_damaged_zip_directory_is_no_traceback(tmp_path: Path, mark: bytes, place: int) -> None:
    """Versions, methods and disks that ``zipfile`` refuses by exceptions of several kinds."""
    torch.save({"w": torch.ones(3, 3)}, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    start = content.rindex(mark)
    content[start + place] ^= 0xB5
    (tmp_path / "a.pth").write_bytes(bytes(content))
    with pytest.raises(SparsebenchError, match=r"a\.pth"):
        build_from("resnet18", load_checkpoint(tmp_path / "a.pth"), tmp_path / "a.pth")
