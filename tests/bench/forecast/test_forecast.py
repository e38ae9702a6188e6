"""The forecast: what this cell took before, scaled by counts; of any other cell nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparsebench.bench.forecast import Earlier, Forecast, Prediction, predict, remember
from sparsebench.bench.forecast.earlier import KEPT, key_of, key_of_record
from sparsebench.bench.plan.cells import Cell, expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Record, RunFolder
from sparsebench.bench.run.build_records import _settings
from sparsebench.bench.tasks.kinds import DETECTION
from tests.bench.synthetic import make_run

REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "amd-epyc-2cpu"
PLAN = Plan(
    backbones=("resnet18/dense",),
    engines=("torch",),
    threads=1,
    size=64,
    seeds=(1,),
    repeats=2,
    workloads=("inference", "linear-cached", "linear-online", "full"),
).with_changes(epochs=10, train_epochs=3, recipe="short", validation=0.2)
STAGES = {
    "inference": {},
    "linear-cached": {"decode": 2.0, "extract": 6.0, "head": 1.0, "evaluate": 0.5, "other": 0.25},
    "linear-online": {"decode": 2.0, "extract": 6.0, "augment": 1.0, "head": 0.5},
    "full": {"load": 3.0, "decode": 2.0, "forward": 6.0, "backward": 12.0, "evaluate": 1.0},
}


def cells(plan: Plan = PLAN) -> dict[str, Cell]:
    return {cell.workload: cell for cell in expand(plan)}


def record(workload: str, plan: Plan = PLAN, slower: float = 1.0, **task: Any) -> Record:
    """A finished cell of 100 training and 50 test images."""
    cell = cells(plan)[workload]
    made = make_run(blocks=1).records[0]
    stages = {name: seconds * slower for name, seconds in STAGES[workload].items()}
    calls = (0.2 * slower,) * 3 if workload == "inference" else (sum(stages.values()),)
    trial = replace(
        made.trials[0],
        warmup=(0.4,) if workload == "inference" else (),
        seconds=calls,
        stages=stages,
    )
    return replace(
        made,
        workload=workload,
        backbone=replace(made.backbone, name=cell.backbone),
        engine=replace(made.engine, name=cell.engine, threads=1, batch_size=cell.batch_size),
        task=replace(made.task, **{"name": "trees", "train": 100, "test": 50, **task}),
        settings=_settings(plan, cell),
        trials=(trial, trial),
        extra={"compile_seconds": [7.0, 7.0]},
    )


def after(*records: Record) -> Earlier:
    earlier = Earlier()
    for one in records:
        earlier.learn([one])
    return earlier


def found(workload: str, earlier: Earlier, plan: Plan = PLAN, images: int = 1) -> Prediction:
    cell = cells(plan)[workload]
    return predict(plan, cell, 100 * images, 50 * images, "trees", earlier)


@pytest.mark.parametrize("workload", STAGES)
def test_a_cell_that_was_measured_takes_as_long_again(workload: str) -> None:
    one = record(workload)
    prediction = found(workload, after(one))
    assert prediction.basis == "measured"
    (seconds, *_) = one.trials[0].seconds
    assert prediction.seconds == pytest.approx(seconds)
    spent = 3 * 0.2 + 0.4 if workload == "inference" else seconds
    assert prediction.whole == pytest.approx(2 * (spent + 7.0))


@pytest.mark.parametrize("workload", STAGES)
def test_a_cell_that_was_never_measured_is_unknown_and_not_a_number(workload: str) -> None:
    nothing = Prediction(None, None, "unknown")
    assert found(workload, Earlier()) == nothing
    others = after(*(record(other) for other in STAGES if other != workload))
    assert found(workload, others) == nothing
    assert found(workload, after(record(workload)), PLAN.with_changes(size=96)) == nothing


def test_stages_grow_with_images_epochs_and_seeds() -> None:
    cached = after(record("linear-cached"))
    # 2 + 6 for images, 1 for images x epochs x seeds, 0.5 for images x seeds, 0.25 for nothing.
    for plan, images, seconds in (
        (PLAN, 2, 2 * 9.5 + 0.25),
        (PLAN.with_changes(epochs=50), 1, 2 + 6 + 5 * 1 + 0.5 + 0.25),
        (PLAN.with_changes(seeds=(1, 2, 3)), 1, 2 + 6 + 3 * 1 + 3 * 0.5 + 0.25),
    ):
        prediction = found("linear-cached", cached, plan, images)
        assert prediction.basis == "scaled"
        assert prediction.seconds == pytest.approx(seconds)
    full = found("full", after(record("full")), PLAN.with_changes(train_epochs=6))
    # Loading and decoding once; 20 held out x 3 epochs + 50 test images were evaluated.
    assert full.seconds == pytest.approx(3 + 2 + 2 * 18 + (20 * 6 + 50) / (20 * 3 + 50))


@pytest.mark.parametrize(
    ("workload", "change"),
    [
        ("linear-cached", {"solver": "lbfgs"}),
        ("linear-cached", {"prepared": True}),
        ("linear-cached", {"weight_decays": (0.1, 0.2)}),
        ("full", {"deterministic": True}),
    ],
)
def test_another_way_of_computing_is_not_this_cell(workload: str, change: dict[str, Any]) -> None:
    other = PLAN.with_changes(**change)
    assert found(workload, after(record(workload)), other).basis == "unknown"
    both = after(record(workload), record(workload, other, slower=9))
    assert found(workload, both).seconds == pytest.approx(sum(STAGES[workload].values()))


def test_a_busy_run_is_outvoted_and_a_lasting_change_is_believed() -> None:
    runs = [record("full", slower=times) for times in (1.0, 9.0, 1.0)]
    assert found("full", after(*runs)).seconds == pytest.approx(24)
    slower = [record("full", slower=2.0) for _ in range(KEPT)]
    assert found("full", after(*runs, *slower)).seconds == pytest.approx(48)


def test_a_limit_is_fewer_images_of_the_same_task() -> None:
    limited = replace(PLAN, limit=30)
    small = record("linear-cached", limited, name="trees:30", train=20, test=10)
    prediction = found("linear-cached", after(small))
    assert prediction.basis == "scaled"
    assert prediction.seconds == pytest.approx(5 * 9.5 + 0.25)


def test_it_is_remembered_and_a_damaged_file_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "forecast" / "machine.json"
    earlier = after(*map(record, STAGES))
    earlier.save(path)
    assert Earlier.load(path) == earlier
    path.write_text("[{")
    assert Earlier.load(path).runs == {}
    assert Earlier.load(tmp_path / "none").runs == {}


def test_runs_that_end_together_forget_nothing_of_each_other(tmp_path: Path) -> None:
    """Each began before the other had written; both then add what their cells took."""
    path, both = tmp_path / "cache" / "e.json", ("inference", "full")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda workload: remember(path, [record(workload)]), both * 2))
    kept = Earlier.load(path).runs
    assert {key.workload: len(runs) for key, runs in kept.items()} == dict.fromkeys(both, 2)
    remember(path / "no", [record("full")])  # no folder can be made there: nothing is raised


def test_what_a_launch_takes_around_its_trials_belongs_to_its_cells() -> None:
    """Workers, export and heads are in no trial's seconds; a run waits for them all the same."""
    earlier, cached = Earlier(), record("linear-cached")
    launches = [
        replace(trial, launch=name) for name, trial in zip("ab", cached.trials, strict=True)
    ]
    earlier.learn([replace(cached, trials=tuple(launches))], {"a": 40.0, "b": 30.0})
    assert found("linear-cached", earlier).whole == pytest.approx(70)
    assert found("linear-cached", earlier, replace(PLAN, repeats=4)).whole == pytest.approx(140)
    # Two cells share what is around them.
    both, full = Earlier(), record("full")
    pair = [replace(one, trials=(replace(one.trials[0], launch="a"),)) for one in (cached, full)]
    both.learn(pair, {"a": 100.0})
    whole = [found(one.workload, both, replace(PLAN, repeats=1)).whole for one in pair]
    assert sum(seconds or 0.0 for seconds in whole) == pytest.approx(100)


def test_an_export_is_expected_once_a_run_and_not_as_slow_as_the_first_time() -> None:
    """Seen: 9.3 minutes foreseen, where the run before had exported for 5 of its 17."""
    earlier, cached = Earlier(), record("linear-cached")
    (first, second), spent = cached.trials, sum(STAGES["linear-cached"].values())
    trials = (replace(first, launch="a"), replace(second, launch="b"))
    for export in (30.0, 6.0):
        extra = {"compile_seconds": [7.0, 7.0], "export_seconds": [export, export]}
        both = spent + 7 + 2  # and 2 s of starting workers
        run = replace(cached, trials=trials, extra=extra)
        earlier.learn([run], {"a": export + both, "b": both})
        assert found("linear-cached", earlier).whole == pytest.approx(2 * both + export)
    # Engines share what is exported.
    two, engines = Earlier(), {"a": 20.0 + 2 * (spent + 7)}
    other = replace(cached, engine=replace(cached.engine, name="torch"), trials=trials[:1])
    extra = {"compile_seconds": [7.0], "export_seconds": [20.0]}
    two.learn([replace(one, trials=trials[:1], extra=extra) for one in (cached, other)], engines)
    alone = found("linear-cached", two, replace(PLAN, repeats=1)).whole
    assert alone == pytest.approx(spent + 7 + 10)


def test_what_a_run_does_between_its_launches_is_expected_again(tmp_path: Path) -> None:
    """Seen: 1.7 of 4.6 minutes, and half of a small run on a quiet machine."""
    path = tmp_path / "e.json"
    for rest in (5.0, 7.0, 60.0):
        remember(path, [record("full")], rest=rest)
    assert Earlier.load(path).rest == 7.0
    cell = cells(PLAN)["full"]
    assert Forecast(((cell, Prediction(1.0, 20.0, "measured")),), 7.0).seconds == 27.0
    assert Forecast(((cell, Prediction()),), 7.0).seconds is None


def test_heads_of_boxes_grow_with_their_own_epochs() -> None:
    """Linear heads' settings are no part of such records, and their epochs do not count."""
    plan = PLAN.with_changes(sections={"linear-cached": {"detection_epochs": 5}})
    cell = cells(plan)["linear-cached"]
    one = replace(record("linear-cached", plan), settings=_settings(plan, cell, DETECTION))
    assert "solver" not in one.settings
    earlier = after(one)

    def told(other: Plan) -> Prediction:
        return predict(other, cells(other)["linear-cached"], 100, 50, "trees", earlier, DETECTION)

    assert told(plan) == replace(told(plan), basis="measured")
    assert told(plan.with_changes(epochs=99)).basis == "measured"
    usual = told(PLAN)  # 15 epochs of a second that were 5
    assert usual.basis == "scaled"
    assert usual.seconds == pytest.approx(9.75 + 2 * 1.0)


def test_a_failed_cell_teaches_nothing() -> None:
    assert not after(replace(record("full"), status="failed")).runs


@pytest.mark.parametrize("name", ["quick", "full-families", "three-ways"])
def test_a_recorded_cell_is_found_by_its_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of each reference run, as if measured before, forecasts the same cells' seconds."""
    from sparsebench.bench.plan.plan import load_plan

    monkeypatch.setattr("sparsebench.bench.plan.cells.usable_cpus", lambda: 2)
    plan = load_plan(str(REFERENCE / name / "plan.toml"))
    records = {one.id: one for one in RunFolder.reading(REFERENCE / name).records()}
    matched = 0
    for cell in expand(plan):
        if cell.id in records:
            one = records[cell.id]
            task = one.task.name.removesuffix(f":{plan.limit}")
            assert key_of(plan, cell, task) == key_of_record(one)
            matched += 1
    assert matched == len(records)
