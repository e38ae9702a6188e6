"""The cost model: exact for what it has measured, proportional in what it says it depends on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sparsebench.results as results
from sparsebench.bench.forecast.model import (
    LAUNCH_SECONDS,
    LBFGS_EPOCHS,
    TRAINING_LAUNCH_SECONDS,
    flops,
    predict,
)
from sparsebench.bench.forecast.rates import (
    Key,
    Rate,
    Rates,
    amounts_of,
    key_of,
    key_of_record,
    rates_of,
)
from sparsebench.bench.forecast.work import Amounts
from sparsebench.bench.plan.cells import Cell
from sparsebench.bench.plan.plan import EngineSettings
from sparsebench.bench.records import RunFolder, Trial
from sparsebench.bench.workloads import inference
from tests.bench.synthetic import make_run


def cell(backbone: str = "resnet18/dense", workload: str = "full", size: int = 64) -> Cell:
    return Cell(
        "id", backbone, "resnet18/dense", "torch", workload, "digits", "cpu", "fp32", 1, 64, size,
        EngineSettings(),
    )  # fmt: skip


ANY = Amounts(1, 1)


def key(one: Cell, amounts: Amounts = ANY) -> Key:
    return key_of(one, amounts)


def test_rates_times_work() -> None:
    rate = Rate({"load": 2.0, "decode": 0.1, "forward": 0.01, "evaluate": 0.05}, once=7.0)
    rates = Rates({key(cell()): rate})
    amounts = Amounts(train=100, test=50, epochs=3, validation=0.2)
    found = predict(cell(), amounts, 2, 0.4, rates)
    # 2 once; 150 pictures decoded; 80 x 3 trained; 20 x 3 + 50 evaluated.
    assert found.seconds == pytest.approx(2 + 15 + 2.4 + 5.5)
    assert found.whole == pytest.approx(2 * (found.seconds + 7 + TRAINING_LAUNCH_SECONDS))
    assert found.basis == "measured"


def test_it_grows_with_pictures_epochs_and_seeds() -> None:
    rate = Rate({"extract": 0.02, "head": 1e-4})
    one = cell(workload="linear-cached")
    rates = Rates({key(one): rate})
    base = predict(one, Amounts(100, 100, epochs=10, seeds=1), 1, 0.4, rates).seconds
    assert base == pytest.approx(200 * 0.02 + 1000 * 1e-4)
    double = predict(one, Amounts(200, 200, epochs=10, seeds=1), 1, 0.4, rates).seconds
    assert double == pytest.approx(2 * base)
    seeds = predict(one, Amounts(100, 100, epochs=10, seeds=5), 1, 0.4, rates).seconds
    epochs = predict(one, Amounts(100, 100, epochs=50, seeds=1), 1, 0.4, rates).seconds
    assert seeds == epochs == pytest.approx(base + 4 * 0.1)


def test_an_unknown_backbone_is_scaled_by_the_flops_of_its_architecture() -> None:
    rates = Rates({key(cell()): Rate({"forward": 0.01, "decode": 0.1})})
    found = predict(cell("resnet50/dense@generated"), Amounts(100, 0, 1), 1, 0.4, rates)
    # ResNet-50 needs 4.09 GFLOPs at 224 px where ResNet-18 needs 1.81 (torchvision's table).
    ratio = flops("resnet50/dense@generated", 224) / flops("resnet18/dense", 224)
    assert ratio == pytest.approx(4.09 / 1.81, rel=0.02)
    at_64 = flops("resnet50/dense@generated", 64) / flops("resnet18/dense", 64)
    assert found.seconds == pytest.approx(100 * 0.01 * at_64 + 100 * 0.1)
    assert found.basis == "scaled"


def test_nothing_known_is_a_guess_and_says_so() -> None:
    found = predict(cell(), Amounts(100, 100, 2), 1, 0.4, Rates())
    assert found.basis == "guessed" and 0 < found.seconds < 1000


def test_rates_are_remembered_and_a_damaged_file_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "rates" / "machine.json"
    rates = Rates({key(cell()): Rate({"forward": 0.25}, 1.5)})
    rates.save(path)
    assert Rates.load(path).known == rates.known
    path.write_text("[{")
    assert Rates.load(path).known == {}
    assert Rates.load(tmp_path / "none").known == {}


def test_a_busy_run_and_a_tiny_one_are_outvoted() -> None:
    rates, one = Rates(), key(cell())
    # Three quiet runs at 0.25 s a picture, one that shared the machine, one of five pictures
    # that is all start-up.
    for seconds, work in ((0.25, 1000), (2.5, 1000), (0.26, 1000), (0.24, 1000), (9.0, 5)):
        rates.learn(Rates({one: Rate({"forward": seconds}, 1.0, work)}))
    assert 0.24 <= rates.known[one].stages["forward"] <= 0.26
    # Only the last five count: a machine that became slower is believed after a few runs.
    for _ in range(5):
        rates.learn(Rates({one: Rate({"forward": 0.5}, 1.0, 1000)}))
    assert rates.known[one].stages == {"forward": 0.5}


# One head on 100 + 100 pictures costs 1 ms for a picture and epoch; everything else nothing.
HEAD = Amounts(100, 100, epochs=10, seeds=1, task="a")


def head_rates(**known: Any) -> Rates:
    one = cell(workload="linear-cached")
    return Rates({key(one, replace(HEAD, **known)): Rate({"head": 1e-3, "decode": 0.1})})


@pytest.mark.parametrize(
    "change", [{"solver": "lbfgs"}, {"prepared": True}, {"strengths": 5}, {"task": "b"}]
)
def test_another_solver_sweep_preparation_or_task_is_not_this_cell(change: dict[str, Any]) -> None:
    one = cell(workload="linear-cached")
    assert predict(one, HEAD, 1, 0.4, head_rates()).basis == "measured"
    assert predict(one, HEAD, 1, 0.4, head_rates(**change)).basis == "scaled"
    assert predict(one, replace(HEAD, **change), 1, 0.4, head_rates()).basis == "scaled"
    # The other one's runs are remembered beside this one's, not mixed with them.
    both = head_rates()
    both.learn(Rates({key(one, replace(HEAD, **change)): Rate({"head": 9.0})}))
    assert predict(one, HEAD, 1, 0.4, both).seconds == pytest.approx(1.0 + 20)


def test_a_head_of_another_solver_is_guessed_and_prepared_pictures_need_no_decoding() -> None:
    one = cell(workload="linear-cached")
    found = predict(one, replace(HEAD, solver="lbfgs"), 1, 0.4, head_rates())
    assert found.seconds == pytest.approx(100 * LBFGS_EPOCHS * 1e-5 + 20)
    assert predict(one, replace(HEAD, prepared=True), 1, 0.4, head_rates()).seconds == 1.0


def test_a_sweep_is_work_of_the_head() -> None:
    # 4 strengths on the 75 % that are not held out: three heads more.
    one, swept = cell(workload="linear-cached"), replace(HEAD, strengths=4, validation=0.25)
    rates = Rates({key(one, swept): Rate({"head": 1e-3})})
    assert predict(one, swept, 1, 0.4, rates).seconds == pytest.approx(4.0)


def test_decoding_is_that_of_the_same_task_even_for_another_network() -> None:
    one, other = cell(workload="linear-cached"), cell("resnet50/dense", "linear-cached")
    rates = head_rates()
    rates.learn(Rates({key(other, replace(HEAD, task="jpegs")): Rate({"decode": 2.0})}))
    found = predict(one, replace(HEAD, task="jpegs"), 1, 0.4, rates)
    assert found.seconds == pytest.approx(1.0 + 200 * 2.0) and found.basis == "scaled"


def test_records_give_the_keys_of_their_cells() -> None:
    record = make_run(blocks=1, workloads=["linear-cached"]).records[0]
    settings = {"solver": "lbfgs", "weight_decays": [0.1, 0.2], "pictures": "prepared"}
    told = key_of_record(replace(record, settings={**record.settings, **settings}))
    assert (told.solver, told.strengths, told.prepared) == ("lbfgs", 2, True)
    other = replace(record, task=replace(record.task, sha256="f" * 64))
    assert key_of_record(other) != key_of_record(record)


def test_visits_and_warm_up_are_those_of_the_workload() -> None:
    one = cell(workload="inference")
    rates = Rates({key(one): Rate({"call": 1.0})})
    found = predict(one, Amounts(1, 1), 1, 0.4, rates, together=2)
    warmup = 1.0 * min(inference.WARMUP_CALLS / 2, inference.WARMUP_SECONDS + 1)
    visits = inference.passes(2) * inference.VISIT_CALLS
    assert found.whole == pytest.approx(warmup + visits + LAUNCH_SECONDS)
    # Two workloads that share an engine's process start it once.
    shared = predict(one, Amounts(1, 1), 1, 0.4, rates, together=2, shared=2)
    assert found.whole - shared.whole == pytest.approx(LAUNCH_SECONDS / 2)


def training(cell: str, started: str, seconds: list[float], **extra: Any) -> Trial:
    extra = {"seconds_per_seed": seconds, **extra}
    return Trial(cell, "R", "full", 0, "a", 0, (), (1.0,), 1, {}, f"2026-01-01T00:{started}Z",
                 extra=extra)  # fmt: skip


def test_what_passes_between_trainings_is_learned_from_their_times_of_day() -> None:
    record = replace(make_run(blocks=1).records[0], workload="full")
    tuning = {"took": 4.0}
    trials = [
        training(record.id, "00:00", [10.0, 20.0], tuning=tuning),
        training("other", "00:43", [10.0]),
    ]
    record = replace(record, extra={"tuning": [tuning]})
    (rate,) = rates_of([record], trials).known.values()
    # 43 s passed: 30 s of trainings, 4 s of calibration.
    assert rate.launch == pytest.approx(9.0) and rate.calibration == 4.0
    one = replace(cell(), backbone="b", dense="b")
    rates = Rates({key(one): replace(rate, stages={"load": 1.0}, once=0.0)})
    found = predict(one, Amounts(1, 1), 2, 0.4, rates, trainings=5, tune=True)
    assert found.whole == pytest.approx(5 * 1.0 + 2 * 9.0 + 4.0)


@pytest.mark.parametrize(("name", "seconds"), [("full-families", 772), ("full-native", 935)])
def test_the_whole_of_a_real_run_is_foretold_by_its_own_rates(name: str, seconds: float) -> None:
    """Runs of `full` alone: from the first start to the end of the last training."""
    folder = RunFolder.reading(Path(results.__path__[0]) / "reference/amd-epyc-2cpu" / name)
    records, trials = folder.records(), folder.trials()
    rates, total = rates_of(records, trials), 0.0
    for record in records:
        engine, mine = record.engine, [t for t in trials if t.cell == record.id]
        one = replace(
            cell(record.backbone.name), engine=engine.name, precision=engine.precision,
            threads=engine.threads, batch_size=engine.batch_size,
            size=int(record.settings["size"]),
        )  # fmt: skip
        trainings = sum(len(trial.extra["seconds_per_seed"]) for trial in mine)
        found = predict(
            one, amounts_of(record), len(mine), 0.4, rates, trainings=trainings, tune=True
        )
        assert found.basis == "measured"
        total += found.whole
    assert total == pytest.approx(seconds, rel=0.1)


def test_deterministic_training_is_not_this_cell() -> None:
    rates = Rates({key(cell()): Rate({"forward": 0.01})})
    assert predict(cell(), ANY, 1, 0.4, rates).basis == "measured"
    assert predict(cell(), replace(ANY, deterministic=True), 1, 0.4, rates).basis == "scaled"
