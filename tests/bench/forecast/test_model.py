"""The cost model: exact for what it has measured, proportional in what it says it depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cells import Cell
from bench.forecast.model import LAUNCH_SECONDS, flops, predict
from bench.forecast.rates import Rate, Rates
from bench.forecast.work import Amounts
from bench.plans import EngineSettings


def cell(backbone: str = "resnet18/dense", workload: str = "full", size: int = 64) -> Cell:
    return Cell(
        "id", backbone, "resnet18/dense", "torch", workload, "digits", "cpu", "fp32", 1, 64, size,
        EngineSettings(),
    )  # fmt: skip


def key(one: Cell) -> tuple[object, ...]:
    return (one.workload, one.backbone, "torch", "cpu", "fp32", 1, 64, one.size)


def test_rates_times_work() -> None:
    rate = Rate({"load": 2.0, "decode": 0.1, "forward": 0.01, "evaluate": 0.05}, once=7.0)
    rates = Rates({key(cell()): rate})
    amounts = Amounts(train=100, test=50, epochs=3, validation=0.2)
    found = predict(cell(), amounts, 2, 0.4, rates)
    # 2 once; 150 pictures decoded; 80 x 3 trained; 20 x 3 + 50 evaluated.
    assert found.seconds == pytest.approx(2 + 15 + 2.4 + 5.5)
    assert found.whole == pytest.approx(2 * (found.seconds + 7 + LAUNCH_SECONDS))
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
