"""Which is fastest within so many points: who wins follows from the synthetic truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsebench.bench.present.decisions import plain
from sparsebench.bench.present.report import Report, build_report
from sparsebench.bench.records import Accuracy
from sparsebench.models.errors import SparsebenchError
from tests.bench.present.report.conftest import QUICK, reference_rows, reference_winner
from tests.bench.present.report.synthetic_suite import ENGINES, SEEDS, SPARSE, synthetic_suite


def report_of(tmp_path: Path, margin: float = 0.5, **options: Any) -> Report:
    options = {"workloads": ("inference",), "tasks": ("pets",), **options}
    return build_report([synthetic_suite(**options).write(tmp_path / "run")], margin)


@pytest.mark.parametrize(
    ("margin", "winner"),
    [(0.0, "dense on openvino"), (0.2, "gmp-80"), (0.5, "acdc-90"), (1.0, "str-95"), (7, "magn")],
)
def test_the_winner_follows_from_the_margin(tmp_path: Path, margin: float, winner: str) -> None:
    (one,) = report_of(tmp_path, margin).chosen
    assert one.answer.take is not None
    assert winner in one.answer.take.name
    assert one.answer.kind == ("dense" if margin == 0 else "sparse")
    assert winner in plain(one.headline)


def test_the_speed_is_that_against_the_best_dense_engine(tmp_path: Path) -> None:
    (one,) = report_of(tmp_path).chosen
    winner = one.answer.standing(one.answer.take)
    assert winner is not None and winner.claim is not None
    speedup, change = SPARSE["acdc-90"]
    truth = ENGINES["openvino"] / (ENGINES["deepsparse"] / speedup)  # 2.4, not 3.0
    assert winner.claim.ratio.median == pytest.approx(truth, rel=0.005)
    assert winner.candidate.worst.evidence.change.mid == pytest.approx(change, abs=1e-6)
    text = plain(one.headline)
    assert f"{truth:.2f}×" in text
    assert "resnet50/dense on openvino" in text
    assert "−0.3" in text


def test_every_speed_up_in_words_has_its_interval_and_accuracy(tmp_path: Path) -> None:
    for found in build_report([QUICK]).answers.values():
        for one in found:
            for sentence in (one.headline, *one.remarks):
                text = plain(sentence)
                for number in [word for word in text.split() if word.endswith("×")]:
                    assert f"{number} (" in text
                    assert "accuracy" in text or "dense" in text


def test_a_mean_within_is_not_enough(tmp_path: Path) -> None:
    """Of −0.3 ± 1 points nobody knows whether it is within 0.5."""
    suite = synthetic_suite(workloads=("inference",), tasks=("pets",))
    spread = np.array([-0.8, -0.4, 0.0, 0.4, 0.8]) / 100
    records = tuple(
        replace(r, accuracy=Accuracy.of("top1", 0.797 + spread, SEEDS))
        if r.backbone.method == "acdc"
        else r
        for r in suite.records
    )
    run = replace(suite, records=records).write(tmp_path / "run")
    (one,) = build_report([run]).chosen
    assert one.answer.take is not None and "gmp-80" in one.answer.take.name
    unsure = one.answer.first("not shown")
    assert unsure is not None and "acdc-90" in unsure.candidate.name
    assert any("not shown to be within" in plain(remark) for remark in one.remarks)


def test_several_tasks_must_all_be_within(tmp_path: Path) -> None:
    suite = synthetic_suite(workloads=("inference",), tasks=("cars", "pets"))
    bad = [
        replace(r, accuracy=Accuracy.of("top1", [0.7] * 5, SEEDS))
        if r.backbone.method == "acdc" and r.task.name == "cars"
        else r
        for r in suite.records
    ]
    run = replace(suite, records=tuple(bad)).write(tmp_path / "run")
    report = build_report([run])
    (one,) = report.headlines(0.5)
    assert one.answer.take is not None and "gmp-80" in one.answer.take.name
    assert one.answer.first("ruled out") is not None
    acdc = next(s for s in one.answer.standings if "acdc-90 on deepsparse" in s.candidate.name)
    assert acdc.candidate.worst.record.task.name == "cars" and acdc.claim is not None
    assert acdc.claim.ratio.median == pytest.approx(2.4, rel=0.005)  # the mean of 2.4 and 2.4
    each = {other.answer.question.tasks: other.answer.take for other in report.chosen}
    assert each["pets",] is not None and "acdc-90" in each["pets",].name
    assert each["cars",] is not None and "gmp-80" in each["cars",].name


def test_a_sparse_network_that_is_not_faster_does_not_win(tmp_path: Path) -> None:
    (one,) = report_of(tmp_path, engines=("onnxruntime", "torch")).chosen
    assert one.answer.kind == "dense"
    assert one.answer.take is not None
    assert one.answer.take.name == "resnet50/dense on onnxruntime"
    assert "no sparse variant" in plain(one.headline)


def test_an_engine_that_forbids_production_is_named_and_replaced(tmp_path: Path) -> None:
    (one,) = report_of(tmp_path).chosen
    assert one.answer.take is not None and not one.answer.take.facts.production
    assert one.production is not None and one.production.take is not None
    assert one.production.take.name == "resnet50/dense on openvino"  # nothing else is faster
    remark = next(plain(r) for r in one.remarks if plain(r).startswith("For production"))
    assert "resnet50/dense on openvino" in remark


def test_generated_weights_give_no_answer(tmp_path: Path) -> None:
    suite = synthetic_suite(workloads=("inference",), tasks=("pets",))
    records = tuple(
        replace(r, accuracy=None, backbone=replace(r.backbone, trained=False))
        for r in suite.records
    )
    run = replace(suite, records=records).write(tmp_path / "run")
    (one,) = build_report([run]).chosen
    assert one.answer.kind == "none"
    assert "×" not in plain(one.headline)
    assert "generated weights" in plain(one.headline)


def test_one_block_is_no_evidence(tmp_path: Path) -> None:
    (one,) = report_of(tmp_path, blocks=1).chosen
    assert one.answer.kind == "not shown"
    assert "no interval" in plain(one.headline) and "blocks" in plain(one.headline)


def test_two_dense_partners_are_two_questions(tmp_path: Path) -> None:
    suite = synthetic_suite(workloads=("inference",), tasks=("pets",))

    def renamed(text: str) -> str:
        return text.replace("resnet50", "resnet18")

    others = [
        replace(
            r, id=f"other-{r.id}",
            backbone=replace(
                r.backbone, name=renamed(r.backbone.name), arch="resnet18",
                dense_partner="resnet18/dense",
            ),
        )
        for r in suite.records
    ]  # fmt: skip
    run = replace(suite, records=(*suite.records, *others)).write(tmp_path / "run")
    titles = [one.title for one in build_report([run]).chosen]
    assert titles == ["inference on pets, resnet50/dense", "inference on pets, resnet18/dense"]


@pytest.mark.parametrize("margin", [-0.1, float("nan"), 101])
def test_a_margin_that_cannot_be_meant_is_refused(margin: float) -> None:
    with pytest.raises(SparsebenchError, match="--max-accuracy-loss"):
        build_report([QUICK], margin)


def test_json_holds_the_answer_and_every_cell() -> None:
    found = build_report([QUICK]).to_json()
    assert found["max_accuracy_loss_points"] == 0.5
    assert [one["workload"] for one in found["answers"]] == ["inference", "linear-cached"]
    for one in found["answers"]:
        row, sparse = reference_winner(one["workload"])
        taken = one["winner" if sparse else "best_dense"]
        assert taken["name"] == f"{row['backbone']} on {row['engine']}"
    assert len(found["cells"]) == len(reference_rows())
    for cell in found["cells"]:
        _complete(cell)


def _complete(cell: Mapping[str, Any]) -> None:
    """A ratio with its interval, beside an accuracy change with its own."""
    if cell["method"] == "dense":
        return
    for key in ("speedup_same_engine", "speedup_best_dense"):
        low, high = cell[key]["ci95"]
        assert low <= cell[key]["median"] <= high
    low, high = cell["accuracy_change_points"]["ci95"]
    assert low <= cell["accuracy_change_points"]["mean"] <= high
    assert cell["repeat"].startswith("sparsebench run ")
