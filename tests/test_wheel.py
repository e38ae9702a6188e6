"""The wheel in a user's project that has packages `bench`, `models` and `results` of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("bench", "exporters", "models", "results")
SMALL = (
    *("--backbone", "resnet18/uniform-90@generated", "--engine", "onnxruntime"),
    *("--workload", "inference", "--limit", "40", "--repeats", "1", "--size", "32"),
    *("--threads", "1"),
)
MINE = """
import models, bench, results
assert models.OWN and bench.OWN and results.OWN

def test_mine(sparse_benchmark):
    result = sparse_benchmark("resnet18/uniform-90@generated", engine="onnxruntime",
                              limit=40, repeats=1, size=32, threads=1)
"""


BUILD = (sys.executable, "-m", "hatchling", "build", "-d")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release's source is."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([*BUILD, out, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (sdist,) = out.glob("*.tar.gz")
    return sdist


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built as a release would be: from what the sdist holds."""
    out = sdist.parent
    shutil.unpack_archive(sdist, out, filter="data")
    unpacked = out / sdist.name.removesuffix(".tar.gz")
    subprocess.run([*BUILD, out, "-t", "wheel"], cwd=unpacked, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A project with the wheel in its environment; the dependencies are this environment's."""
    project = tmp_path_factory.mktemp("theirs")
    venv.create(project / ".venv", symlinks=True)
    (site,) = (project / ".venv/lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # A path file's folders hold no path files of their own: not this checkout, only its packages.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in NAMES:
        (project / name).mkdir()
        (project / name / "__init__.py").write_text("OWN = True\n")
    return project


def in_project(project: Path, *command: str, path: str | None) -> subprocess.CompletedProcess[str]:
    """Run a command of its environment from its root."""
    environment = {k: v for k, v in os.environ.items() if "XDIST" not in k and k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = path
    python = str(project / ".venv/bin/python")
    done = subprocess.run(
        [python, *command], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_source_holds_all_but_the_weights_that_have_a_distribution_of_their_own(
    sdist: Path,
) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"models/zoo/pyproject.toml", "results/README.md", "tests/test_wheel.py"} <= names
    assert not [name for name in names if name.endswith(".safetensors")]
    assert sdist.stat().st_size < 8e6


def test_two_names_and_no_weights_lie_in_site_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"sparsebench", "pytest_sparsebench"}
    assert len(names) == len(set(names))
    assert "sparsebench/bench/presets/quick.toml" in names
    assert "sparsebench/results/schema/record.v1.json" in names
    assert not [name for name in names if "/scripts/" in name or name.endswith(".safetensors")]
    assert wheel.stat().st_size < 8e6


@pytest.mark.parametrize("address", ["", "https://example.org/us/sparsebench"])
def test_links_lead_to_where_the_package_is_published(address: str) -> None:
    """On a package index a link to `docs/ci.md` leads nowhere."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "metadata"], cwd=ROOT, check=True,
        capture_output=True, text=True, env={**os.environ, "SPARSEBENCH_URL": address},
    )  # fmt: skip
    told = json.loads(done.stdout)
    links = re.findall(r"\]\(([^)]+)\)", told["readme"]["text"])
    mine = [link for link in links if "docs/ci.md" in link or link.endswith(".png")]
    assert len(mine) == 2
    if address:
        assert all(link.startswith(f"{address}/") for link in links)
        assert {"Repository", "Documentation", "Changelog", "Issues"} == set(told["urls"])
        assert all(url.startswith(address) for url in told["urls"].values())
        assert f"{address}/blob/HEAD/docs/ci.md" in mine
    else:
        assert "docs/ci.md" in mine and not told.get("urls")


def test_the_main_job_runs_beside_packages_of_the_same_names(project: Path, tmp_path: Path) -> None:
    """With the project on the path of every process; the plugin below has it run without."""
    out = tmp_path / "run"
    run = ("-m", "sparsebench", "run", "quick", *SMALL, "--out", str(out))
    in_project(project, *run, path=".")
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["ok", "ok"]


@pytest.mark.parametrize("path", [None, "."])
def test_both_are_imported_there(project: Path, path: str | None) -> None:
    code = "import sparsebench, models; print(sparsebench.__file__); assert models.OWN"
    found = in_project(project, "-c", code, path=path).stdout
    assert str(project / ".venv") in found


def test_the_pytest_plugin_measures_there(project: Path) -> None:
    """It runs the main job in a process of its own, from the project's root."""
    (project / "test_mine.py").write_text(MINE)
    options = ["-p", "no:cacheprovider", "-q", "--benchmark-json=b.json"]
    # Nothing else on the PATH: the wheel's own command, which an installer would put beside python.
    options += ["-o", f"sparsebench_command={project}/.venv/bin/python -m sparsebench"]
    in_project(project, "-m", "pytest", *options, path=None)
    (found,) = json.loads((project / "b.json").read_text())["benchmarks"]
    assert found["extra_info"]["sparsebench"]["backbone"] == "resnet18/uniform-90@generated"


def test_missing_weights_name_the_package_that_ships_them(project: Path) -> None:
    code = (
        "from sparsebench.models.zoo.load import load_backbone\n"
        "from sparsebench.models.errors import SparsebenchError\n"
        "try:\n    load_backbone('resnet18/gmp-90')\n"
        "except SparsebenchError as error:\n    print(error)\n"
    )
    assert "pip install sparsebench-zoo" in in_project(project, "-c", code, path=None).stdout
