"""The project's own table of the paper's numbers, against the sources it was made from."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path
from statistics import fmean, stdev

import pytest

from sparsebench.bench.paper import paper_cells
from sparsebench.bench.paper.measures import benefit, difficulty, error_increase
from sparsebench.bench.paper.transfer_cells import Cell, Model
from sparsebench.bench.tasks.known_tasks import PAPER_TASKS
from sparsebench.models.sources.paper_list import PUBLISHED

SHARED = "SPARSEBENCH_SHARED"
# Mean relative error increase in per cent, to 0.1 point, as computed from the published raw
# results by a program that is not part of this project. (linear, full).
RESNET50 = {
    ("acdc", 80): (-3.2, 7.7), ("acdc", 90): (-2.0, 12.0), ("acdc", 95): (1.7, 21.3),
    ("str", 80): (-0.9, 20.1), ("str", 90): (3.5, 26.6), ("str", 95): (13.6, 41.7),
    ("str", 98): (38.1, 81.4),
    ("rigl_erk_1x", 80): (2.8, 22.4), ("rigl_erk_1x", 90): (7.1, 32.3),
    ("rigl_erk_1x", 95): (14.3, 41.9),
    ("rigl_erk_5x", 80): (0.8, 20.9), ("rigl_erk_5x", 90): (0.2, 20.9),
    ("rigl_erk_5x", 95): (3.6, 27.3),
    ("woodfisher", 80): (15.3, 0.7), ("woodfisher", 90): (14.0, 4.0),
    ("woodfisher", 95): (16.9, 13.4),
    ("lth_t", 80): (79.4, 9.3), ("lth_t", 90): (220.6, 36.8), ("lth_t", 95): (401.6, 110.4),
}  # fmt: skip
MOBILENET = {
    ("acdc", 30): (1.1, 3.2), ("acdc", 40): (1.8, 3.1), ("acdc", 50): (1.9, 4.3),
    ("acdc", 75): (2.7, 11.3), ("acdc", 90): (10.2, 22.7),
    ("str", 75): (11.5, 33.2), ("str", 90): (24.4, 44.9),
    ("mfac", 75): (4.2, 19.9), ("mfac", 89): (10.9, 36.1),
}  # fmt: skip
EXPECTED = {
    (arch, method, percent): values
    for arch, table in (("resnet50", RESNET50), ("mobilenet_v1", MOBILENET))
    for (method, percent), values in table.items()
}
GAPS = {
    "cifar10": 6.15, "cifar100": 11.04, "aircraft": 34.46, "birdsnap": 14.63, "caltech101": 1.6,
    "caltech256": 1.31, "cars": 36.85, "dtd": 2.69, "flowers102": 3.45, "food101": 14.02,
    "pets": 0.84, "sun397": 4.67,
}  # fmt: skip
# Pearson's r with the difficulty: (of the change in points, of the relative error increase).
CORRELATIONS = {
    ("acdc", 0.8): (0.85, -0.44), ("acdc", 0.95): (0.84, -0.58), ("str", 0.9): (0.64, -0.44),
    ("str", 0.98): (0.05, -0.56), ("rigl_erk_1x", 0.95): (0.58, -0.72),
    ("rigl_erk_5x", 0.9): (0.89, -0.75), ("woodfisher", 0.8): (-0.94, 0.15),
    ("lth_t", 0.95): (0.59, -0.61),
}  # fmt: skip


@pytest.mark.parametrize(("key", "values"), EXPECTED.items(), ids=str)
def test_mean_relative_error_increases_to_a_tenth_of_a_point(
    key: tuple[str, str, int], values: tuple[float, float]
) -> None:
    arch, method, percent = key
    model = Model(arch, method, percent / 100)
    cells = paper_cells()
    linear, full = error_increase(cells, model, "linear"), error_increase(cells, model, "full")
    assert linear is not None and full is not None
    assert len(linear.tasks) == len(full.tasks) == 12
    assert (linear.value.mid, full.value.mid) == pytest.approx(values, abs=0.0501)


def test_difficulties_and_their_correlations() -> None:
    cells = paper_cells()
    # Two decimals, of numbers that were rounded to two decimals before they were subtracted.
    assert difficulty(cells, "resnet50") == pytest.approx(GAPS, abs=0.0151)
    for (method, sparsity), (change, error) in CORRELATIONS.items():
        found = benefit(cells, Model("resnet50", method, sparsity))
        assert found is not None and found.of_change is not None and found.of_error is not None
        assert found.of_change.r == pytest.approx(change, abs=0.00501)
        assert found.of_error.r == pytest.approx(error, abs=0.00501)
        assert found.of_change.low < found.of_change.r < found.of_change.high
        assert found.of_change.count == 12


def test_the_table_is_complete_and_uses_the_suite_s_names() -> None:
    cells = paper_cells()
    models = {cell.model for cell in cells}
    known = {(one.arch, one.method, one.sparsity) for one in PUBLISHED}
    assert {(m.arch, m.method, m.sparsity) for m in models} <= known
    assert len(models) == len(RESNET50) + len(MOBILENET) + 2
    assert {cell.task for cell in cells} == set(PAPER_TASKS)
    assert len(cells) == len(models) * 12 * 2
    assert len({(c.model, c.transfer, c.task) for c in cells}) == len(cells)
    trainings = Counter((c.model.arch, c.transfer, c.trainings) for c in cells)
    assert trainings == {
        ("resnet50", "linear", 5): 240, ("resnet50", "full", 3): 237, ("resnet50", "full", 4): 3,
        ("mobilenet_v1", "linear", 5): 120, ("mobilenet_v1", "full", 1): 108,
        ("mobilenet_v1", "full", 2): 12,
    }  # fmt: skip


FILES = {
    ("resnet50", "linear"): "linear_transfer_results.csv",
    ("resnet50", "full"): "full_transfer_results.csv",
    ("mobilenet_v1", "linear"): "linear_mobilenet_transfer_results.csv",
    ("mobilenet_v1", "full"): "full_mobilenet_transfer_results.csv",
}
TASKS = {"birds": "birdsnap", "flowers": "flowers102", "SUN": "sun397"}
METHODS = {
    "Dense": "dense", "AC/DC": "acdc", "STR": "str", "RigL ERK 1x": "rigl_erk_1x",
    "RigL ERK 5x": "rigl_erk_5x", "WoodFisher": "woodfisher", "LTH-T": "lth_t", "M-FAC": "mfac",
}  # fmt: skip


def test_every_cell_is_that_of_the_raw_results() -> None:
    """Needs the published raw results: ``SPARSEBENCH_SHARED=FOLDER`` with ``data/paper/*.csv``."""
    root = os.environ.get(SHARED)
    if not root:
        pytest.skip(f"the raw results are not here: {SHARED} names no folder")
    raw: dict[tuple[str, str, str, str, float], list[float]] = {}
    for (arch, transfer), name in FILES.items():
        with (Path(root) / "data" / "paper" / name).open(newline="") as file:
            for row in csv.DictReader(file):
                task = TASKS.get(row["dset"], row["dset"])
                key = (arch, transfer, task, METHODS[row["model"]], float(row["sparsity"]))
                raw.setdefault(key, []).append(100 * float(row["val_acc"]))
    cells: dict[tuple[str, str, str, str, float], Cell] = {
        (c.model.arch, c.transfer, c.task, c.model.method, c.model.sparsity): c
        for c in paper_cells()
    }
    assert cells.keys() == raw.keys()
    for key, values in raw.items():
        cell = cells[key]
        assert cell.mean == pytest.approx(fmean(values), abs=1e-4)
        assert cell.trainings == len(values)
        if len(values) > 1:
            assert cell.std == pytest.approx(stdev(values), abs=1e-4)
        else:
            assert cell.std is None
