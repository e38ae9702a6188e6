"""Two networks of different training: the change of accuracy carries a mark wherever it stands."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from matplotlib.text import Text
from rich.console import Console

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.present.plots.points import points_of
from sparsebench.bench.present.plots.speedup_accuracy import draw
from sparsebench.bench.present.tables import sections, terminal_tables
from sparsebench.bench.records import Comparison
from tests.bench.comparisons.finding import ACDC, DENSE, of
from tests.bench.synthetic import SyntheticRun, make_run

SHORT, LONG = ({"epochs": e, "images": e * 1000} for e in (12, 17))


def with_budgets(sparse: dict[str, int] | None, dense: dict[str, int] | None) -> SyntheticRun:
    run = make_run(blocks=3)
    budgets = {ACDC: sparse, DENSE: dense}
    records = [
        replace(r, backbone=replace(r.backbone, budget=budgets.get(r.backbone.name)))
        for r in run.records
    ]
    return SyntheticRun(records, run.trials)


@pytest.mark.parametrize(
    ("sparse", "dense"), [(LONG, LONG), (None, LONG), (LONG, None), (None, None)]
)
def test_equal_or_unknown_training_has_no_mark(
    sparse: dict[str, int] | None, dense: dict[str, int] | None
) -> None:
    run = with_budgets(sparse, dense)
    for comparison in compare_run(run.records, run.trials):
        assert comparison.accuracy_delta and not comparison.accuracy_delta.unequal_budgets
        assert not any("Unequal" in note for note in comparison.notes)


def test_unequal_training_is_marked_in_the_comparison_table_summary_and_figure() -> None:
    run = with_budgets(LONG, SHORT)
    compared = compare_run(run.records, run.trials)
    one = of(run, compared, "linear-cached", ACDC, "torch")
    assert one.accuracy_delta and one.accuracy_delta.unequal_budgets
    sentence = (
        "† Unequal training: resnet18/acdc-90 17 epochs (17,000 images), its dense baseline "
        "resnet18/dense 12 epochs (12,000 images)."
    )
    assert sentence in one.notes
    assert Comparison.from_json(one.to_json()).accuracy_delta == one.accuracy_delta

    found = sections(run.records, run.trials, compared)
    console = Console(width=200, file=io.StringIO())
    for part in terminal_tables(found, run.records):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    markdown = run.markdown()
    for text in (console.file.getvalue(), markdown):
        lines = [line for line in text.splitlines() if "†" in line]
        assert any("Unequal training" in line for line in lines)
        assert len(lines) >= 6 + 2  # three engines, two workloads; a footnote under each table

    points = points_of(run.records, compared, run.trials)
    shown = [text.get_text() for figure in draw(points) for text in figure.findobj(Text)]
    assert "acdc†" in shown and "magnitude" in shown
    assert any("† Not the dense baseline's training budget." in text for text in shown)
