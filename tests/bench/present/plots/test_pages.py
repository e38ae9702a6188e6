"""Pages: how many panels there are, where they stand, and what is drawn once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from sparsebench.bench.comparisons.history.series import History, Series
from sparsebench.bench.comparisons.times import run_times
from sparsebench.bench.present.plots import bound, figures, history, profiles, stages
from sparsebench.bench.present.plots.canvas import (
    FULL,
    PAGES,
    TWO_COLUMNS,
    NothingToDrawError,
    Page,
    Panel,
    new_figure,
    panels,
)
from sparsebench.bench.present.plots.figures import Wish
from sparsebench.bench.present.plots.saving import save_figure
from sparsebench.bench.records import Estimate, Record, RunFolder
from tests.bench.conftest import Result
from tests.bench.present.plots.sweeps import TRAINED, data
from tests.bench.present.plots.test_speedup_accuracy import texts
from tests.bench.present.tables.test_over_tasks import three_tasks
from tests.bench.synthetic import SyntheticRun, make_run

Cli = Callable[..., Result]


def test_a_figure_of_very_many_panels_stays_a_file(tmp_path: Path) -> None:
    """At 300 dpi, 100 inches would be more pixels than viewers open."""
    png, _ = save_figure(new_figure(1, 100), tmp_path, "long")
    with Image.open(png) as picture:
        assert picture.size[1] == pytest.approx(20_000, abs=1)


def test_a_page_has_no_empty_column_and_its_titles_stand_inside() -> None:
    def square(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1])
        axes.set_aspect("equal")

    pairs = [Panel(f"{part} {n}", square, part, part) for part in "abc" for n in range(2)]
    long = "linear-online on flowers5-128:2000"  # ended behind the page's edge
    three = [Panel(long, square, "d", "d") for n in range(3)]
    figures = panels([*pairs, *three], Page(7.0, 3, height=7.0), [], "one  two")
    assert len(figures) == 2
    for figure in figures:
        assert all(any(axes.axison for axes in column) for column in columns_of(figure))
        assert [text.get_text() for text in figure.texts] == ["one two"]
        for axes in figure.axes:
            box = axes.title.get_window_extent()
            assert box.y1 < figure.bbox.y1 - 1
            assert box.x1 < figure.bbox.x1


@pytest.mark.parametrize("page", PAGES.values())
def test_square_panels_of_bounds_leave_room_for_their_titles(page: Page) -> None:
    """Seen in one column: the first title cut off, the second on the numbers above it."""
    run = data(make_run(backbones=TRAINED, engines=["deepsparse"]))
    for figure in bound.draw([run], page=page):
        figure.draw_without_rendering()  # makes the panels square
        upper = figure.bbox.y1
        for axes in figure.axes:
            title = axes.get_title("left")
            (box,) = [t.get_window_extent() for t in axes.findobj(Text) if t.get_text() == title]
            assert box.y1 < upper - 1 and box.y0 > axes.get_window_extent().y1
            if page.panels == 1:
                upper = axes.get_tightbbox().y0  # type: ignore[union-attr]


def test_marks_of_one_bound_stand_side_by_side() -> None:
    run = data(make_run(backbones=TRAINED, engines=["deepsparse"], workloads=["linear-cached"]))
    same = [
        replace(one, speedup=Estimate(2.0, (1.8, 2.2), 3), amdahl_bound=3.0)
        for one in run.comparisons
    ]
    (figure,) = bound.draw([replace(run, comparisons=tuple(same))])
    bars = [c for c in figure.axes[0].containers if isinstance(c, ErrorbarContainer)]
    places = [bar[0].get_transform().transform(bar[0].get_xydata())[0] for bar in bars]
    points = [place[0] * 72 / figure.dpi for place in places]
    assert points[1] - points[0] == pytest.approx(6.0)
    assert "side by side" in texts(figure)
    (apart,) = bound.draw([run])
    assert "side by side" not in texts(apart)


def test_bars_of_stages_take_the_room_that_their_words_leave() -> None:
    """In one column they took a third of it."""
    run = data(make_run(backbones=TRAINED, engines=["deepsparse"]))
    for page in PAGES.values():
        (figure,) = stages.draw([run], page=page)
        (axes,) = figure.axes
        ends = [text.get_window_extent().x1 for text in axes.texts]
        assert 0.94 * figure.bbox.x1 < max(ends) < figure.bbox.x1


def test_a_history_leaves_out_what_was_measured_once() -> None:
    def series(name: str, runs: tuple[str, ...]) -> Series:
        ones = (1.0,) * len(runs)
        return Series(name, "speedup", runs, runs, ones, (None,) * len(runs), ("1",) * len(runs))

    twice, once = series("twice", ("a", "b")), series("once", ("b",))
    (figure,) = history.draw(History("f", (twice, once), ()), [])
    assert [axes.get_title("left") for axes in figure.axes] == ["twice"]
    assert "Not shown: 1 cell of a single run." in texts(figure)
    with pytest.raises(NothingToDrawError):
        history.draw(History("f", (once,), ()), [])


def test_a_profile_s_caption_names_only_what_it_shows() -> None:
    other = make_run(engines=["torch"], workloads=["linear-online"])  # of one task: not shown
    shown = three_tasks()
    (figure,) = profiles.draw([data(SyntheticRun([*shown.records, *other.records], shown.trials))])
    engines = {record.engine.name for record in shown.records}
    assert ("torch" in texts(figure)) == ("torch" in engines)


def columns_of(figure: Figure) -> list[list[Axes]]:
    found: dict[float, list[Axes]] = {}
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        assert spec is not None
        found.setdefault(spec.colspan.start, []).append(axes)
    return list(found.values())


def test_all_figures_of_a_run_read_and_compare_it_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each of the seven read it again: 21 s of processor time for 1,008 records."""
    folder = make_run(backbones=TRAINED, blocks=2).write(tmp_path / "R")
    read: list[str] = []
    records = RunFolder.records

    def reading(one: RunFolder) -> list[Record]:
        read.append("read")
        return records(one)

    def comparing(*run: Any) -> Any:
        read.append("compared")
        return run_times(*run)

    monkeypatch.setattr(RunFolder, "records", reading)
    monkeypatch.setattr("sparsebench.bench.decide.candidates.run_times", comparing)
    monkeypatch.setattr(figures, "save_figure", lambda *where: [])
    figures.draw_figures([folder], ["all"], Wish(), tmp_path)
    assert sorted(read) == ["compared", "read"]


def test_of_more_panels_than_a_figure_holds_one_page_is_drawn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Six pages of stages and four of speed-ups, of 252 panels, served nobody."""
    many = [Panel(f"{n}", lambda axes: None, "part", height=2.0) for n in range(FULL + 1)]
    (figure,) = panels(many, TWO_COLUMNS, [], "Note.", most=1)
    assert [axes.title.get_text() for axes in figure.axes if axes.axison] == list("0123")
    assert figure.texts[0].get_text() == "Note. These are 4 of 19 panels."
    assert "4 of 19 panels are drawn" in caplog.text and "--panels 19" in caplog.text
    assert len(panels(many[:FULL], TWO_COLUMNS, [], "", most=1)) == 5
    assert len(panels(many, replace(TWO_COLUMNS, most=FULL + 1), [], "", most=1)) == 5


def test_marks_of_one_look_are_one_artist() -> None:
    """Each cell's own took most of the time of a figure of a thousand."""
    run = data(make_run(backbones=TRAINED))
    (axes, _) = bound.draw([replace(run, comparisons=[*run.comparisons] * 20)])[0].axes
    assert len(axes.containers) == 2 * 3  # methods, engines
