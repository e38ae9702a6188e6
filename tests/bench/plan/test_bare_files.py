"""Checkpoints named by their path alone, and what they are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sparsebench.bench.cli.baselines import named_baselines
from sparsebench.bench.plan.cells import with_partners
from sparsebench.bench.plan.plan import load_plan
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.generated import generate
from sparsebench.models.zoo import find_card

ARCH = "squeezenet1_0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, method, share in (("dense", "dense", 0.0), ("pruned", "uniform", 0.9)):
        torch.save(generate(ARCH, method, share, 5).state_dict(), tmp_path / f"{name}.pth")
    return tmp_path


def plan(*backbones: str, **changes: Any) -> Any:
    return load_plan("quick").with_changes(backbones=backbones, **changes)


def test_names_are_made_from_the_files(folder: Path) -> None:
    pruned, dense = find_card("pruned.pth"), find_card("dense.pth")
    assert (pruned.name, dense.name) == (
        f"{ARCH}/pruned-90@pruned.pth",
        f"{ARCH}/dense@dense.pth",
    )
    # A file called after a one-shot method is pruned already: nothing may prune it again.
    for file, method in (("magnitude", "own_magnitude"), ("0.9-net", "pruned_0_9_net")):
        (folder / f"{file}.pth").write_bytes((folder / "pruned.pth").read_bytes())
        assert find_card(f"{file}.pth").name == f"{ARCH}/{method}-90@{file}.pth"


def test_of_a_file_that_is_not_here_the_error_says_so_and_where_it_looked(folder: Path) -> None:
    with pytest.raises(SparsebenchError, match="There is no file 'nothing.pth'. Paths start from"):
        find_card("nothing.pth")


def test_one_dense_file_stands_for_all(folder: Path) -> None:
    given = named_baselines(["dense.pth"], ["pruned.pth", "dense.pth"])
    assert given == {"pruned.pth": "dense.pth"}
    assert with_partners(plan("pruned.pth", dense=given)) == {
        f"{ARCH}/dense@dense.pth": f"{ARCH}/dense@dense.pth",
        f"{ARCH}/pruned-90@pruned.pth": f"{ARCH}/dense@dense.pth",
    }


def test_a_baseline_is_guessed_only_where_that_is_asked_for(folder: Path) -> None:
    with pytest.raises(SparsebenchError, match="does not say which dense network.*--dense auto"):
        with_partners(plan("pruned.pth"))
    guessed = named_baselines(["auto"], ["pruned.pth"])
    assert guessed == {"pruned.pth": find_card(f"{ARCH}/mine-90@pruned.pth").dense_partner}


def test_another_architecture_is_no_baseline(folder: Path) -> None:
    other = "resnet18/dense@generated"
    with pytest.raises(SparsebenchError, match="do not say that they are of one architecture"):
        with_partners(plan("pruned.pth", dense={"pruned.pth": other}))


def test_what_is_no_backbone_is_no_baseline(folder: Path) -> None:
    for missing in ("nothing.pth", "epoch=3.ckpt", "epoch=3-acc=0.9.onnx"):
        with pytest.raises(SparsebenchError, match=f"'--dense {missing}': there is no file"):
            named_baselines([missing], ["pruned.pth"])
    assert named_baselines(["pruned.pth=a=b.pth"], ["pruned.pth"]) == {"pruned.pth": "a=b.pth"}


def test_another_head_is_said_to_be_what_differs(folder: Path) -> None:
    """It was "does not say which backbone it is. Name it …", and the name led to another error."""
    tensors = dict(torch.load("pruned.pth", weights_only=True))
    for part in ("weight", "bias"):  # two linear layers where one is expected
        last = tensors.pop(f"classifier.{part}")
        tensors |= {f"classifier.{place}.{part}": last.clone() for place in (1, 4)}
    torch.save(tensors, "head.pth")
    with pytest.raises(SparsebenchError, match=f"'head.pth' is almost a {ARCH}, but ") as error:
        find_card("head.pth")
    said = str(error.value)
    assert "holds classifier.4.weight, classifier.4.bias" in said
    assert "torch.onnx.export" in said


def test_unknown_tensors_are_said_to_be_such(folder: Path) -> None:
    torch.save({"blocks.0.attn.qkv.weight": torch.ones(3, 1)}, folder / "vit.pth")
    with pytest.raises(SparsebenchError, match=r"does not say which backbone.*vision transformer"):
        find_card("vit.pth")


def test_a_sparse_network_is_no_dense_baseline(folder: Path) -> None:
    """It was measured, and called dense in every table; of ONNX files it was refused."""
    for name, partner in (
        ("resnet18/gmp-90", "resnet18/gmp-95"),
        ("resnet18/gmp-90", "resnet18/gmp-90"),
        ("resnet18/uniform-90@generated", "resnet18/uniform-50@generated"),
        ("pruned.pth", "pruned.pth"),
    ):
        with pytest.raises(SparsebenchError, match="cannot be the dense baseline.*are zero"):
            with_partners(plan(name, dense={name: partner}))


def test_a_baseline_of_what_the_run_does_not_measure_is_refused(folder: Path) -> None:
    """It was passed over, and the usual dense network was the baseline."""
    for other in ("resnet18/gmp-95", f"{ARCH}/pruned-90@pruned.pth"):
        with pytest.raises(SparsebenchError, match="which this run does not measure"):
            named_baselines([f"{other}=dense.pth"], ["pruned.pth"])
