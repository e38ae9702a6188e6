"""Rules of measurement that no other file of tests is about; `docs/rules.md` lists all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsebench.bench.plan.plan import load_plan, preset_names
from sparsebench.bench.run.build_records import division
from sparsebench.bench.workloads.block_context import cell_order

REFERENCE = Path(__file__).parents[2] / "results" / "reference"


def test_the_order_of_cells_changes_with_the_block_and_is_the_seeds() -> None:
    first = [cell_order(seed=0, block=block, name="inference", count=6) for block in range(8)]
    assert all(sorted(order) == list(range(6)) for order in first)
    assert len({tuple(order) for order in first}) > 4
    again = [cell_order(seed=0, block=block, name="inference", count=6) for block in range(8)]
    assert again == first
    assert cell_order(seed=1, block=0, name="inference", count=6) != first[0]
    assert cell_order(seed=0, block=0, name="full", count=6) != first[0]


@pytest.mark.parametrize(
    ("precision", "expected"), [("fp32", "closed"), ("bf16", "open"), ("int8", "open")]
)
def test_another_precision_is_the_open_division(precision: str, expected: str) -> None:
    assert division(precision) == expected


def test_presets_train_at_least_three_seeds() -> None:
    for name in preset_names():
        assert len(load_plan(name).seeds) >= (5 if name == "paper" else 3)


def test_every_record_is_of_real_images() -> None:
    files = sorted(REFERENCE.rglob("records.jsonl"))
    assert files
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert json.loads(line)["settings"]["input"] == "real pictures"
