"""What the pages speak of, and what single commands need (`tests.docs.small`, `needs`)."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.present.summaries import write_summaries
from sparsebench.bench.run import joining
from sparsebench.exporters.worker.environments import ENVIRONMENTS
from sparsebench.models.architectures import ARCHITECTURES
from tests.bench.conftest import cli, images  # noqa: F401  (fixtures)
from tests.bench.gate.test_engine_versions import network, own_index, wheel
from tests.bench.gate.test_refs import git, repository, runs  # noqa: F401  (fixtures)
from tests.bench.present.plots.sweeps import TRAINED, with_setting
from tests.bench.publish.hub_stub import stub_hub
from tests.bench.run.pretended_ray import pretend
from tests.bench.synthetic import make_run
from tests.bench.tasks.detection.sets import CLASSES as BOX_CLASSES
from tests.bench.tasks.detection.sets import write_coco
from tests.docs.commands import ROOT

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
REFERENCE = ROOT / "results" / "reference" / "amd-epyc-2cpu" / "quick"
RUNS = ("my-first", "laptop", "server", "nightly/0", "nightly/1")
# Two runs of a quiet day, simulated; the pages' names of backbones put for those of the simulation.
QUIET = {"monday": 1, "tuesday": 2}
NAMES = {"resnet18/acdc-90": "resnet18/gmp_uniform-90", "magnitude-50": "acdc-90"}
SIZES = (16, 17, 32)
SIDE = 32
CLASSES = 2
VERSIONS = {"1.20.1": 0.01, "1.22.0": 0.01}


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:  # noqa: F811
    """Runs, images, plans and networks, under the names that the pages give them."""
    from sparsebench.bench.cli import check as checking

    here = tmp_path_factory.mktemp("docs")
    for run in RUNS:
        shutil.copytree(REFERENCE, here / run)
    for name, seed in QUIET.items():
        _quiet(here / name, seed)
    for size in SIZES:
        sweep = make_run(blocks=2, backbones=TRAINED, engines=["torch"])
        with_setting(sweep, f"-{size}", batch_size=size).write(here / f"batch-{size}")
    (here / "path/to/paper").mkdir(parents=True)
    (here / "path/to/images").symlink_to(images)
    _networks(here)
    write_coco(here / "boxes", train=16, test=8)
    plan = (ROOT / "docs/own.md").read_text().split("```toml\n")[1]
    (here / "my-plan.toml").write_text(plan.split("```")[0])
    checking.update(here / "monday", here / "ci.toml", "first")
    return here


def _quiet(path: Path, seed: int) -> None:
    backbones = ["resnet18/dense", "resnet18/acdc-90", "resnet18/magnitude-50"]
    run = make_run(seed=seed, process=0.002, iteration=0.001, backbones=backbones).write(path)
    for file in path.glob("*.jsonl"):
        text = file.read_text()
        for simulated, ours in NAMES.items():
            text = text.replace(simulated, ours)
        file.write_text(re.sub(r',\s*"check":\s*"[0-9a-f]{16}"', "", text))  # of the old names
    write_summaries(run)


def _networks(here: Path) -> None:
    """Checkpoints, a file as `sparsify` writes it, and ONNX files as `export` writes them."""
    import torch

    from sparsebench.bench.cli.export import export
    from sparsebench.models.generated import generate
    from sparsebench.models.zoo.load import load_backbone

    for file, name in (("sparse.pth", "resnet18/gmp-90"), ("dense.pth", "resnet18/dense")):
        weights = load_backbone(name).module.state_dict()
        torch.save(weights, here / file)
        # A network whose outputs are the classes of the images.
        own = {k: v[:CLASSES] if k.startswith("fc.") else v for k, v in weights.items()}
        torch.save(own, here / f"own-{file}")
    for suffix in (".safetensors", ".json"):  # the compact form, which says what it is
        shutil.copy(ROOT / "models/zoo" / f"resnet18-gmp-90{suffix}", here / f"mine{suffix}")
    for file, name in (("my", "tiny/uniform-90@generated"), ("dense", "tiny/dense@generated")):
        export(name, size=SIDE, out=here / f"{file}.onnx")
    shutil.copy(here / "my.onnx", here / "model.onnx")
    detector = generate("yolov5n", "dense", 0.0, len(BOX_CLASSES))
    torch.save(detector.state_dict(), here / "best.pt")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command stores for later must not steer other tests."""
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine."""
    from huggingface_hub import constants

    with stub_hub() as stub:
        monkeypatch.setenv("HF_TOKEN", "hf_ours")
        monkeypatch.setattr(constants, "ENDPOINT", stub.url)
        yield


@pytest.fixture
def short_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer repetitions than the minute that `--why` takes; it has no option for it."""
    module = importlib.import_module("sparsebench.bench.why.measure")
    monkeypatch.setattr(module, "TURNS", 2)
    monkeypatch.setattr(module, "PROFILES", 1)


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv itself builds the environments, from wheels made here, without the network.

    The only Python that is certainly here is this one, so the one that DeepSparse wants is not
    looked for.
    """
    folder = own_index(tmp_path, VERSIONS, monkeypatch)
    for package, version in (("deepsparse", "1.8.0"), ("numpy", "1.26.4"), ("setuptools", "80.0")):
        wheel(folder, package, version, {f"{package}.py": ""})
    ours = replace(ENVIRONMENTS["neuralmagic"], python=sys.executable)
    monkeypatch.setitem(ENVIRONMENTS, "neuralmagic", ours)
    network(Path("tiny.onnx"))
    Path("engines.toml").write_text(
        'backbones = ["tiny.onnx"]\nworkloads = ["inference"]\nmin_seconds = 0.01\n'
        'discards = 0\nseeds = [1]\nepochs = 1\nthreads = 1\ntasks = ["path/to/images"]\n'
    )


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of one node, which is this machine."""
    pretend(monkeypatch)
    monkeypatch.setattr(joining, "_refuse_silent", lambda *given: None)


@pytest.fixture
def branches(repository: Path) -> Path:  # noqa: F811
    """A repository whose branch `main`, here and at its origin, is what lies in the folder."""
    git(repository, "branch", "-M", "main")
    git(repository, "update-ref", "refs/remotes/origin/main", "main")
    return repository
