"""What ``inspect`` tells of files and backbones, one by one and side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.bench.why.model_comparison import dead_by_layer, label, totals
from sparsebench.bench.why.networks_figure import save
from sparsebench.models.architectures import build, prunable_layers
from sparsebench.models.checkpoints.fit import matching_architectures
from sparsebench.models.errors import SparsebenchError
from tests.models.checkpoints import published as make


def with_dead(module: nn.Module, layer: str, count: int) -> nn.Module:
    with torch.no_grad():
        module.get_submodule(layer).weight[:count] = 0  # type: ignore[operator]
    return module


@pytest.fixture
def acdc(tmp_path: Path) -> Path:
    module = with_dead(make.sparse("mobilenet_v1"), "model.2.3", 16)
    path = tmp_path / "acdc_80.pth"
    torch.save(make.common(make.wrapped(module), "mobilenet"), path)
    return path


def test_a_published_file_tells_its_format_architecture_and_what_is_missing(acdc: Path) -> None:
    report = inspect_target(str(acdc), size=64)
    assert report.facts["format"].startswith("sparse_transfer (")
    assert (report.facts["arch"], report.facts["dataset"]) == ("mobilenet_v1", "imagenet")
    assert {"preprocessing", "pruning method", "upstream accuracy"} == set(report.unknown)
    assert "assumed" in report.facts["input"]
    layers = {layer.name: layer for layer in report.layers}
    module = with_dead(make.sparse("mobilenet_v1"), "model.2.3", 16)
    for name, layer in prunable_layers(module).items():
        rows = (layer.weight == 0).flatten(1).all(1)
        assert layers[name].dead_filters == int(rows.sum())
        assert layers[name].nonzero_macs is not None
    assert layers["model.2.3"].dead_filters >= 16


def test_names_that_fit_two_architectures_are_told_apart_by_none() -> None:
    with torch.device("meta"):
        state = build("resnet50_rigl", 7).state_dict()
    assert matching_architectures(state) == ["resnet50", "resnet50_rigl"]
    with torch.device("meta"):
        assert matching_architectures(build("mobilenet_v1", 7).state_dict()) == ["mobilenet_v1"]


def test_a_file_of_an_unknown_network_is_still_counted(tmp_path: Path) -> None:
    weight = torch.ones(4, 3, 3, 3)
    weight[1] = 0
    torch.save({"state_dict": {"first.weight": weight}, "arch": "mynet"}, tmp_path / "a.pth")
    report = inspect_target(str(tmp_path / "a.pth"))
    assert (report.sparsity, report.dead_filters) == (0.25, 0.25)
    assert report.unknown == ["architecture (it says 'mynet')", "preprocessing", "FLOPs"]


def test_untouched_statistics_are_refused(tmp_path: Path) -> None:
    torch.save(build("resnet18", 2).state_dict(), tmp_path / "fresh.pth")
    with pytest.raises(SparsebenchError, match=r"fresh\.pth' holds no trained network"):
        inspect_target(str(tmp_path / "fresh.pth"))


def test_a_compact_network_is_held_against_the_full_one(acdc: Path) -> None:
    whole = inspect_target(f"mobilenet_v1/acdc-80@{acdc}", size=64)
    small = inspect_target(f"mobilenet_v1/acdc-80+compact@{acdc}", size=64)
    assert whole.flops_ratio is not None and small.flops_ratio is not None
    # What reads only constants goes as well; a carrier's column may come, no more.
    assert 0.5 * whole.flops_ratio < small.flops_ratio < 1.02 * whole.flops_ratio
    assert small.sparsity < whole.sparsity
    assert sum(layer.shape[0] for layer in small.layers) < sum(
        layer.shape[0] for layer in whole.layers
    )


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    """Another network: not as sparse, no dead filter but those of chance."""
    module = make.sparse("mobilenet_v1")
    with torch.no_grad():
        module.get_submodule("model.12.3").weight.fill_(0.01)  # type: ignore[operator]
    torch.save(module.state_dict(), tmp_path / "denser.pth")
    return tmp_path / "denser.pth"


def test_networks_side_by_side(acdc: Path, dense: Path, tmp_path: Path) -> None:
    one = inspect_target(str(acdc), size=64)
    two = inspect_target(f"mobilenet_v1/mine-67@{dense}", size=64)
    rows = totals([two, one])
    assert [row["label"] for row in rows] == ["mobilenet_v1/mine-67@denser.pth", "acdc_80.pth"]
    assert rows[0]["sparsity"] < rows[1]["sparsity"]
    shares = dict(dead_by_layer(one))
    assert shares["model.2.3"] >= 16 / 128 and "fc" not in shares
    assert label(two) == "mobilenet_v1/mine-67@denser.pth"
    path = save([one, two], tmp_path / "plots" / "side.png")
    with Image.open(path) as image:
        assert image.width > 1000
    with pytest.raises(SparsebenchError, match="cannot be written"):
        save([one], tmp_path / "side.nothing")


def test_the_command(
    acdc: Path, dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparsebench.bench.cli.inspect import inspect

    names = [str(acdc), str(dense)]
    inspect(names, size=64, compare=True, plot=tmp_path / "side.svg", as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert len(said["networks"]) == 2 and Path(said["plot"]).is_file()
    assert set(said["dead_filters"]) == {"acdc_80.pth", "denser.pth"}
    inspect(names, size=64, compare=True, plot=tmp_path / "side.svg", as_json=False)
    assert "model.2.3" in capsys.readouterr().out
    with pytest.raises(SparsebenchError, match="--compare"):
        inspect(names)
