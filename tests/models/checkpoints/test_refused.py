"""Files that are nearly a checkpoint: one message, exit code 2, and never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.models.architectures import build
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.errors import SparsebenchError

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def resnet18() -> State:
    """Weights of a network that was trained for a step, as its batch norms say."""
    torch.manual_seed(0)
    state: State = build("resnet18", 10).state_dict()
    return {n: t + 0.1 if n.endswith("running_mean") else t for n, t in state.items()}


def _changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[State], State]:
    return lambda state: {n: change(t) if name in n else t for n, t in state.items()}


def _untouched(state: State) -> State:
    return {n: torch.zeros_like(t) if n.endswith("running_mean") else t for n, t in state.items()}


VALUES: list[tuple[Callable[[State], State], str]] = [
    (_changed("layer1.0.conv1.weight", lambda t: t * float("nan")), "NaN or infinite"),
    (_changed("running_var", lambda t: t - 5), "negative batch-norm variances"),
    (_changed("conv", lambda t: (t * 100).to(torch.int8)), "int8 where real weights belong"),
    (_changed("conv", lambda t: t.to(torch.complex64)), "complex64 where real weights"),
    (_changed("bn1.running_var", lambda t: t.to(torch.complex64)), "complex64 where real weights"),
    (_changed("conv", lambda t: t.to(torch.float8_e4m3fn)), "float8_e4m3fn where real weights"),
    (_changed("running_var", lambda t: t.to(torch.float8_e5m2)), "float8_e5m2 where real weights"),
    (_changed("num_batches", lambda t: t.to(torch.uint16)), "uint16 where real weights"),
    (_changed("weight", torch.zeros_like), "weights that are all zero"),
    (_untouched, "batch-norm statistics are initial"),
]
SHAPES: list[tuple[Callable[[State], State], str]] = [
    (_changed("fc.weight", lambda t: t[:0]), "holds no classifier of a resnet18"),
    (_changed("fc.weight", lambda t: t[:, :500]), "does not fit resnet18: .*fc.weight is"),
    (lambda state: {n: t for n, t in state.items() if n != "fc.bias"}, "1 missing .fc.bias"),
]


@pytest.mark.parametrize(("spoil", "message"), VALUES + SHAPES)
def test_numbers_and_shapes_that_no_resnet_has_are_refused(
    resnet18: State, tmp_path: Path, spoil: Callable[[State], State], message: str
) -> None:
    torch.save(spoil(resnet18), tmp_path / "file.pth")
    with pytest.raises(SparsebenchError, match=message):
        inspect_target(str(tmp_path / "file.pth"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [*VALUES, (_changed("fc.weight", lambda t: t[:0]), "empty weights .fc.weight")],
)
def test_numbers_that_no_network_at_all_has_are_refused(
    resnet18: State, tmp_path: Path, spoil: Callable[[State], State], message: str
) -> None:
    """Of an architecture that the suite has never seen."""
    state = {n: t for n, t in resnet18.items() if not n.startswith("layer2")}
    torch.save(spoil(state), tmp_path / "file.pth")
    with pytest.raises(SparsebenchError, match=message):
        inspect_target(str(tmp_path / "file.pth"))


def test_what_lacks_its_buffers_is_refused_by_the_architecture_that_it_claims(
    resnet18: State, tmp_path: Path
) -> None:
    state = {n: t for n, t in resnet18.items() if "running" not in n}
    torch.save({"arch": "resnet18", "state_dict": state}, tmp_path / "file.pth")
    with pytest.raises(SparsebenchError, match="does not fit resnet18: tensors 40 missing"):
        inspect_target(str(tmp_path / "file.pth"))


@pytest.mark.parametrize(
    "state",
    [
        {  # under timm's names, a scalar where a kernel belongs
            "conv_stem.weight": torch.ones(32, 3, 3, 3),
            "blocks.1.0.conv_pw.weight": torch.ones(96, 16, 1, 1),
            "blocks.1.0.conv_pwl.weight": torch.ones(24, 96, 1, 1),
            "blocks.2.0.conv_dw.weight": torch.ones(144, 1, 3, 3),
            "classifier.weight": torch.tensor(1.0),
        },
        {"input.conv.weight": torch.ones(1), "sections.9.0.depth.conv.weight": torch.ones(1)},
        {"input.conv.weight": torch.ones(1), "sections.x.y.depth.conv.weight": torch.ones(1)},
    ],
)
def test_names_with_other_shapes_behind_them_are_no_traceback(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(SparsebenchError, match=r"file\.pth"):
        inspect_target(str(tmp_path / "file.pth"))


@pytest.mark.parametrize(
    "content", [b"<!doctype html><p>Not found", b"epoch 1 loss 2.3\n", b"\x1f\x8b"]
)
def test_what_is_no_checkpoint_at_all_is_not_said_to_hold_code(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(SparsebenchError) as caught:
        load_checkpoint(tmp_path / "file.pth")
    assert "execute" not in str(caught.value)


def test_a_folder_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "dir.pth").mkdir()
    with pytest.raises(SparsebenchError, match="is a folder"):
        inspect_target(str(tmp_path / "dir.pth"))
