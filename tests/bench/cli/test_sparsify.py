"""``sparsebench sparsify`` from outside: a folder of images in, a backbone out."""

from __future__ import annotations

import json
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sparsebench.bench.tasks import open_task
from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.checkpoints.compact import load_compact
from sparsebench.models.masks import mask_of
from sparsebench.models.sparsify.acdc import AlternatingCompression
from sparsebench.models.sparsify.method import Run
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone
from tests.bench.cli.test_cli import wrong
from tests.bench.conftest import Result
from tests.bench.tasks.detection.sets import write_coco
from tests.models.sparsify.tiny import SIZE, write_folder

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
Cli = Callable[..., Result]


@pytest.fixture
def sparsify(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))

    def call(*arguments: object) -> Result:
        return cli("sparsify", "tiny", "--size", SIZE, "--device", "cpu", *arguments)

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path / "data")
    (folder / "test").rename(folder / "val")
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    return folder


def test_a_folder_with_fewer_images_than_a_batch_becomes_a_backbone(
    sparsify: Cli, cli: Cli, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.safetensors"
    result = sparsify(
        "--method", "acdc", "--sparsity", 0.9, "--data", data, "--epochs", 2, "--out", out
    )
    assert result.code == 0, result.err
    assert "sparsity 89.94%" in result.out  # 72 of 716 weights are kept
    assert "loss" in result.err
    assert "accuracy" in result.err
    assert "sparsity 89.9%" in result.err
    assert not list(tmp_path.glob("*.ckpt"))

    card = find_card(str(out))
    assert card.name == f"tiny/acdc-90@{out}"
    assert card.family == "regularization"
    assert card.preprocessing.size == SIZE
    assert card.num_classes == 2
    assert card.upstream_data == "data, test split (8 images, 2 classes)"
    assert card.upstream_accuracy == pytest.approx(float(load_compact(out)[1]["upstream_accuracy"]))
    backbone = load_backbone(card.name)
    assert backbone.measured_sparsity == pytest.approx(0.9, abs=0.001)
    shown = cli("inspect", card.name, "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["facts"]["method"] == "acdc (regularization)"
    assert cli("inspect", out).code == 0


def test_progressive_methods_train_the_dense_one_first_and_keep_it(
    sparsify: Cli, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "y.safetensors"
    arguments = ("--method", "gmp", "--sparsity", 0.8, "--data", data, "--epochs", 5)
    result = sparsify(*arguments, "--out", out, "--json")
    assert result.code == 0, result.err
    made = json.loads(result.out)
    dense = tmp_path / "y.dense.safetensors"
    assert made["dense"] == str(dense)
    assert made["sparsity"] == pytest.approx(0.8, abs=0.001)
    assert load_compact(dense)[1]["epochs"] == "2"
    assert load_compact(out)[1]["epochs"] == "3"
    assert find_card(str(out)).dense_partner == f"tiny/dense@{dense}"
    assert bool(mask_of(load_backbone(str(dense)).module)["3.weight"].all())
    # Another sparsity from the same dense network: it is not trained again.
    written = dense.stat().st_mtime_ns
    out.unlink()
    result = sparsify(*arguments, "--sparsity", 0.9, "--out", out)
    assert result.code == 0, result.err
    assert dense.stat().st_mtime_ns == written
    assert "2 of 5 epochs train a dense one first" in " ".join(result.err.split())


def test_an_interrupt_says_how_to_go_on_and_loses_nothing(
    sparsify: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "z.safetensors"
    arguments = ("--method", "acdc", "--sparsity", 0.8, "--data", data, "--epochs", 4, "--out", out)
    before = AlternatingCompression.before_step

    def interrupted(self: AlternatingCompression, run: Run, step: int) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGINT)
        before(self, run, step)

    monkeypatch.setattr(AlternatingCompression, "before_step", interrupted)
    result = sparsify(*arguments)
    assert result.code == 130
    assert "nothing is lost" in result.err
    assert f"--out {out}" in result.err
    steps = []

    def watched(self: AlternatingCompression, run: Run, step: int) -> None:
        steps.append(step)
        before(self, run, step)

    monkeypatch.setattr(AlternatingCompression, "before_step", watched)
    assert sparsify(*arguments).code == 0
    assert steps[0] == 6


def test_what_an_interrupt_says_also_goes_on_where_a_file_is_replaced(
    sparsify: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "z.safetensors"
    out.write_bytes(b"an older file")

    def interrupted(self: AlternatingCompression, run: Run, step: int) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(AlternatingCompression, "before_step", interrupted)
    arguments = ("--method", "acdc", "--sparsity", 0.8, "--data", data, "--epochs", 4, "--out", out)
    result = sparsify(*arguments, "--overwrite", "--no-resume")
    assert result.code == 130
    said = result.err.split("To resume:")[1]
    assert "--overwrite" in said and "--no-resume" not in said


def test_a_teacher_and_a_start_are_files(sparsify: Cli, data: Path, tmp_path: Path) -> None:
    dense, out = tmp_path / "d.safetensors", tmp_path / "s.safetensors"
    common = ("--data", data, "--epochs", 1)
    assert sparsify("--method", "dense", *common, "--out", dense).code == 0
    result = sparsify(
        "--method", "gmp", "--sparsity", 0.5, *common, "--start", dense, "--teacher", dense,
        "--out", out,
    )  # fmt: skip
    assert result.code == 0, result.err
    said = load_compact(out)[1]
    assert said["teacher"].startswith("file with sha256 ")
    assert said["start"] == said["teacher"]


def test_a_shown_recipe_is_a_plan_that_runs(
    sparsify: Cli, cli: Cli, data: Path, tmp_path: Path
) -> None:
    shown = sparsify("--method", "rigl", "--sparsity", 0.8, "--epochs", 2, "--show-recipe")
    assert shown.code == 0, shown.err
    plan, out = tmp_path / "plan.toml", tmp_path / "p.safetensors"
    plan.write_text(shown.out)
    result = cli("sparsify", "--plan", plan, "--data", data, "--out", out, "--seed", 3)
    assert result.code == 0, result.err
    said = load_compact(out)[1]
    assert (said["method"], said["seed"], said["epochs"]) == ("rigl", "3", "2")


def test_wrong_wishes_are_one_message(sparsify: Cli, cli: Cli, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    good = ("--sparsity", 0.9, "--data", data, "--epochs", 2, "--out", out)
    wrong(sparsify(*good), "--method must be given", "list methods")
    wrong(sparsify("--method", "acdc"), "--sparsity")
    wrong(sparsify("--method", "adcd", *good), "Did you mean 'acdc'")
    wrong(sparsify("--method", "acdc", *good, "--sparsity", 90), "between 0 and 1")
    wrong(sparsify("--method", "acdc", *good, "--epochs", 0), "0 epochs are not enough")
    wrong(sparsify("--method", "gmp", *good, "--epochs", 1), "--start")
    # Refused before the dense stage, not after it.
    wrong(sparsify("--method", "gmp", *good, "--sparsity", 90), "between 0 and 1")
    wrong(sparsify("--method", "gmp", *good, "--teacher", "resnet18/dense"), "classes apart")
    assert not list(tmp_path.glob("*.safetensors"))
    wrong(sparsify("--method", "acdc", *good, "--device", "gpu"), "no device 'gpu'")
    wrong(sparsify("--method", "acdc", *good, "--precision", "fp8"), "no precision 'fp8'")
    wrong(sparsify("--method", "acdc", *good, "--data", tmp_path / "none"), "no folder")
    wrong(sparsify("--method", "acdc", *good, "--teacher", "resnet18/dense"), "classes apart")
    wrong(sparsify("--method", "acdc", *good, "--batch-size", 0), "batch")
    wrong(sparsify("--method", "acdc", *good, "--size", 0), "size")
    wrong(sparsify("--method", "acdc", *good, "--out", tmp_path / "w.pth"), "safetensors")
    (tmp_path / "file").write_text("")
    wrong(sparsify("--method", "acdc", *good, "--out", tmp_path / "file" / "w.safetensors"), "file")
    wrong(cli("sparsify", "resnet81", "--method", "acdc", *good), "'resnet18'")
    (data / "val" / "bright" / "bad.png").write_bytes(b"no image")
    wrong(sparsify("--method", "acdc", *good, "--strict"), "bad.png", "cannot be decoded")
    for path in (data / "train" / "dark").iterdir():
        path.rename(path.with_suffix(".jp2"))
    wrong(sparsify("--method", "acdc", *good), "without an image", ".jp2")
    assert not out.exists()


@pytest.mark.parametrize("wrapped", [False, True], ids=["folder", "wrapped tar"])
def test_it_trains_on_the_images_that_run_measures(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    """A folder of jpg, png, tif and gif gave 8 training images to one command, 4 to the other."""
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "mixed"
    for side, count in (("train", 8), ("test", 4)):
        for label, name in enumerate(("dark", "bright")):
            (root / side / name).mkdir(parents=True)
            for number in range(count // 2):
                ending = ("jpg", "png", "tif", "gif")[number % 4]
                colour = (number * 9, 20 + 150 * label, 3)
                Image.new("RGB", (10, 10), colour).save(root / side / name / f"{number}.{ending}")
    if wrapped:
        with tarfile.open(tmp_path / "mixed.tar.gz", "w:gz") as tar:
            tar.add(root, "wrapping")
        root = tmp_path / "mixed.tar.gz"
    (root.parent if wrapped else root / "train" / "dark").joinpath("more.heic").write_bytes(b"?")
    out = tmp_path / "out.safetensors"
    result = cli(
        *("sparsify", "tiny", "--method", "acdc", "--sparsity", 0.5, "--data", root),
        *("--epochs", 2, "--size", 8, "--precision", "fp32", "--out", out, "--json"),
    )
    assert result.code == 0, result.err
    made = json.loads(result.out)
    task = open_task(str(root))
    assert made["images"] == {"train": len(task.train), "test": len(task.test)}
    assert made["images"] == {"train": 8, "test": 4}
    assert made["left_out"] == task.losses.to_json()
    if not wrapped:
        assert "train/dark keeps 4 of 5 images (left out: 1 .heic)" in result.err


def test_boxes_and_networks_that_find_them_are_refused(
    cli: Cli, sparsify: Cli, data: Path, tmp_path: Path
) -> None:
    boxes = write_coco(tmp_path / "squares", train=2, test=1)
    how = ("--method", "gmp", "--sparsity", 0.9, "--epochs", 2, "--out", tmp_path / "x.safetensors")
    wrong(sparsify(*how, "--data", boxes), "squares holds boxes", "in one shot")
    wrong(cli("sparsify", "yolov5n", *how, "--data", data), "yolov5n finds boxes", "in one shot")
