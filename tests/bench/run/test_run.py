"""A real run, end to end, on real engines: its files and what they say."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from sparsebench.bench.plan.workloads import WORKLOADS
from tests.bench.run.small import BACKBONE, REAL, TINY, Cli, lines, plan_file

SCHEMAS = Path(__file__).parents[3] / "results/schema"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """The folder of a finished run of every registered workload on two engines."""
    folder = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "sparsebench", "run", str(plan_file(folder)), *map(str, REAL)]
    # Two seeds over two blocks: step-by-step training deals them.
    command += ["--seed", "1", "--seed", "2"]
    command += ["--engine", "onnxruntime", "--engine", "torch", "--task", str(images)]
    for name in WORKLOADS:
        command += ["--workload", name]
    done = subprocess.run(
        [*command, "--out", str(folder / "R")], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "uniform-90" in done.stdout
    return folder / "R"


def test_every_line_is_valid_and_every_file_is_there(finished: Path) -> None:
    for kind in ("trial", "record", "comparison"):
        schema = json.loads((SCHEMAS / f"{kind}.v1.json").read_text())
        found = lines(finished / f"{kind}s.jsonl")
        assert found
        for line in found:
            jsonschema.validate(line, schema)
    for name in ("plan.toml", "log.txt", "summary.md", "summary.csv"):
        assert (finished / name).stat().st_size > 0
    assert (finished / "speedup-accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (finished / "speedup-accuracy.svg").read_text()
    assert BACKBONE in (finished / "report.html").read_text()


def test_each_cell_has_one_trial_in_each_block_and_one_record(finished: Path) -> None:
    trials = lines(finished / "trials.jsonl")
    records = lines(finished / "records.jsonl")
    # Dense and sparse, on every engine that can do the workload.
    engines = {name: WORKLOADS.load(name).engines for name in WORKLOADS}
    able = [e for n in engines for e in ("onnxruntime", "torch") if e in (engines[n] or (e,))]
    assert len(records) == 2 * len(able) == 2 * (2 * len(engines) - 1)
    assert len(trials) == 2 * len(records)
    assert len({(trial["cell"], trial["block"]) for trial in trials}) == len(trials)
    assert {record["status"] for record in records} == {"ok"}
    by_block: dict[int, set[str]] = {}
    for trial in trials:
        by_block.setdefault(trial["block"], set()).add(trial["launch"])
    assert all(len(launches) == 1 for launches in by_block.values())


def test_sparsity_and_outputs_are_proven_in_every_record(finished: Path) -> None:
    for record in lines(finished / "records.jsonl"):
        proof = record["proof"]
        sparse = record["backbone"]["method"] != "dense"
        after = proof["after_training_mask"]
        if sparse or record["workload"] != "full":
            assert proof["checkpoint_mask"] == proof["onnx_mask"] == after
        else:  # a dense network has no mask to keep
            assert after is None
        if record["workload"] != "full":
            assert proof["argmax_agreement"] == 1.0
        assert record["engine"]["threads"] == 1
        assert record["machine"]["fingerprint"]
        assert (record["backbone"]["measured_sparsity"] > 0.85) == sparse


def test_stages_sum_to_the_total_within_one_percent(finished: Path) -> None:
    expected = {
        "linear-cached": {"decode", "extract", "head", "evaluate"},
        "linear-online": {"decode", "augment", "extract", "head", "evaluate"},
        "full": {"load", "decode", "augment", "forward", "backward", "optimizer", "evaluate"},
    }
    trials = [t for t in lines(finished / "trials.jsonl") if t["workload"] in expected]
    assert len(trials) == 2 * 2 * (2 + 2 + 1)
    for trial in trials:
        assert math.isclose(sum(trial["stages"].values()), trial["seconds"][0], rel_tol=0.01)
        assert expected[trial["workload"]] <= set(trial["stages"])
        # Images that were worked on: one pass over both splits, or one epoch of training.
        assert trial["items"] == (24 + 12 if trial["workload"] == "linear-cached" else 24)


def test_a_trial_and_its_record_say_what_trained_the_head(finished: Path) -> None:
    cached = [t for t in lines(finished / "trials.jsonl") if t["workload"] == "linear-cached"]
    for trial in cached:
        head = trial["extra"]["head"]
        assert head["solver"] == "sgd" and head["ready_seconds"] >= 0
        assert (head["trained_by"] == "torch") == bool(head["without_kernel"])
    for record in lines(finished / "records.jsonl"):
        said = [t["extra"]["head"] for t in cached if t["cell"] == record["id"]]
        if record["workload"] == "linear-cached":
            assert record["extra"]["head"] in said


def test_seeds_are_dealt_over_the_blocks_of_step_by_step_training(finished: Path) -> None:
    trials = [t for t in lines(finished / "trials.jsonl") if "curve" in t["extra"]]
    assert {(t["block"], *t["extra"]["seeds"]) for t in trials} == {(0, 1), (1, 2)}
    for record in lines(finished / "records.jsonl"):
        if record["workload"] in ("full", "linear-online"):
            assert record["accuracy"]["seeds"] == [1, 2]
            assert len(record["accuracy"]["per_seed"]) == 2
            assert len(record["accuracy"]["best_epoch_per_seed"]) == 2
            assert set(record["extra"]["curves"]) == {"1", "2"}


def test_the_outcome_of_every_test_image_is_kept_and_gives_the_accuracy_again(
    finished: Path,
) -> None:
    """Read with NumPy alone, in every workload, for every seed."""
    for record in lines(finished / "records.jsonl"):
        accuracy = record["accuracy"]
        assert accuracy["over"] == "images and seeds"
        found: dict[int, list[float]] = {}
        for one in accuracy["correct"]:
            data = (finished / one["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == one["sha256"]
            assert len(data) < 2000
            with np.load(io.BytesIO(data)) as file:
                right = np.unpackbits(file["bits"], axis=1)[:, : int(file["images"])]
                assert right.shape == (len(file["seeds"]), record["task"]["test"])
                assert file["labels"].shape == right.shape[1:]
                found |= dict(zip(file["seeds"].tolist(), right.mean(axis=1), strict=True))
        assert [found[seed] for seed in accuracy["seeds"]] == pytest.approx(accuracy["per_seed"])
    for item in lines(finished / "comparisons.jsonl"):
        assert item["accuracy_delta"]["over"] == "images and seeds"


def test_how_a_training_runs_fastest_is_found_once_in_a_run(finished: Path) -> None:
    cells = {r["id"] for r in lines(finished / "records.jsonl") if r["workload"] == "full"}
    for cell in cells:
        trials = [t["extra"] for t in lines(finished / "trials.jsonl") if t["cell"] == cell]
        first, second = sorted(trials, key=lambda extra: "tuned_in_block" in extra)
        assert first["tuning"]["execution"] in first["tuning"]["seconds"]
        assert second["tuned_in_block"] == 0 and "tuning" not in second
        assert first["execution"] == second["execution"]


def test_effects_multiply_to_the_total_and_every_speedup_has_its_accuracy(finished: Path) -> None:
    for item in lines(finished / "comparisons.jsonl"):
        effects = item["effects"]
        product = effects["engine"] * effects["sparsity"] * effects["precision"]
        assert math.isclose(product, item["total"]["median"], rel_tol=1e-9)
        # Two blocks show nothing, and that is said once.
        assert item["speedup"]["ci95"] is None and item["verdict"] == "inconclusive"
        assert sum("No interval" in note for note in item["notes"]) == 1
        assert item["accuracy_delta"]["ci95"] is not None
        assert item["trained"] is False


def test_warm_up_is_kept_apart_and_samples_are_raw(finished: Path) -> None:
    for trial in lines(finished / "trials.jsonl"):
        if trial["workload"] == "inference":
            assert len(trial["warmup"]) >= 5
            assert len(trial["seconds"]) >= 6
            assert trial["items"] == 8


def test_an_engine_without_linear_cached_finds_its_accuracy_itself(
    tmp_path: Path, images: Path, cli: Cli
) -> None:
    """Seen: with engines of its own for linear-cached, the others' inference had no accuracy."""
    plan = plan_file(tmp_path)
    text = plan.read_text() + '[workload_engines]\nlinear-cached = ["onnxruntime"]\n'
    plan.write_text(
        f'backbones = ["{TINY}"]\nengines = ["onnxruntime", "openvino"]\n'
        f'tasks = ["{images}"]\nworkloads = ["inference", "linear-cached"]\nseeds = [1, 2]\n'
        "size = 32\nbatch_size = 4\nepochs = 2\n" + text
    )
    done = cli("run", plan, "--out", tmp_path / "R")
    assert done.code == 0, done.err
    found = {
        (r["workload"], r["engine"]["name"]): r["accuracy"]
        for r in lines(tmp_path / "R" / "records.jsonl")
    }
    assert set(found) == {
        ("inference", "onnxruntime"), ("inference", "openvino"), ("linear-cached", "onnxruntime"),
    }  # fmt: skip
    assert all(accuracy["per_seed"] for accuracy in found.values())


def test_the_accuracy_is_that_of_an_independent_head_on_independent_features(
    cli: Cli, tmp_path: Path
) -> None:
    """torchvision's transforms, the PyTorch module, scikit-learn's logistic regression."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from torchvision import transforms

    from sparsebench.bench.tasks import open_task
    from sparsebench.models.zoo.load import load_backbone

    options = ["--workload", "linear-cached", "--repeats", 1, "--solver", "lbfgs", "--threads", 1]
    options += ["--size", 32, "--batch-size", 48, "--limit", 400, "--engine", "onnxruntime"]
    result = cli("run", "quick", "--backbone", BACKBONE, *options, "--out", tmp_path / "R")
    assert result.code == 0, result.err
    found = {
        r["backbone"]["name"]: r["accuracy"]["mean"] for r in lines(tmp_path / "R/records.jsonl")
    }

    task = open_task("digits", limit=400)
    backbone = load_backbone(BACKBONE)
    preprocessing = backbone.card.preprocessing
    transform = transforms.Compose(
        [
            # The card's 256 -> 224, at an input of 32 px.
            transforms.Resize(round(32 * 256 / 224)),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    backbone.module.fc = torch.nn.Identity()
    features = {}
    for split in ("train", "test"):
        count = len(task.split(split))
        images = torch.stack([transform(task.read(split, index)) for index in range(count)])
        with torch.inference_mode():
            features[split] = backbone.module(images).numpy()
    head = LogisticRegression(C=1 / (5e-4 * len(features["train"])), max_iter=2000)
    head.fit(features["train"], task.train.labels)
    expected = head.score(features["test"], task.test.labels)
    assert found[BACKBONE] == pytest.approx(expected, abs=0.02)
    assert expected > 0.5  # chance is 0.1: the comparison says something


def test_the_same_backbone_against_itself_is_no_speedup(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    """A generated network of sparsity 0 is its dense partner: the interval contains 1."""
    path = tmp_path / "plan.toml"
    path.write_text(
        f'min_seconds = 0.05\nrepeats = 4\nworkloads = ["inference"]\nsize = 64\nbatch_size = 8\n'
        f'threads = 1\nepochs = 2\nbackbones = ["resnet18/uniform-0@generated"]\n'
        f'tasks = ["{images}"]\nengines = ["onnxruntime"]\n'
    )
    assert cli("run", path, "--out", tmp_path / "R").code == 0
    (item,) = lines(tmp_path / "R/comparisons.jsonl")
    low, high = item["speedup"]["ci95"]
    assert low <= 1 <= high or np.isclose(item["speedup"]["median"], 1, atol=0.05)
    # On a quiet machine four blocks are enough to show that the two are tied.
    assert item["verdict"] in ("tied", "inconclusive") or not low <= 1 <= high


def test_a_forecast_stands_beside_the_measurement_and_a_dry_run_measures_nothing(
    cli: Cli, finished: Path, images: Path, tmp_path: Path
) -> None:
    for record in lines(finished / "records.jsonl"):
        known = record["extra"]["prediction_basis"] != "unknown"
        assert (record["extra"].get("predicted_seconds", 0) > 0) == known
    options = [*REAL, "--engine", "torch", "--workload", "full", "--task", images]
    plan = plan_file(tmp_path)
    result = cli("run", plan, *options, "--dry-run", "--json", "--out", tmp_path / "R")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    # The finished run has measured just these cells.
    assert [one["basis"] for one in told["cells"]] == ["measured", "measured"]
    assert told["seconds"] > 0 and told["unknown"] == 0
    assert not (tmp_path / "R").exists()
