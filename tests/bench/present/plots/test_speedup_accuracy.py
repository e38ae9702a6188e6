"""The figure: what it shows and what it leaves out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots.canvas import ONE_COLUMN, TWO_COLUMNS, Page
from sparsebench.bench.present.plots.data import Selection
from sparsebench.bench.present.plots.points import Point, PointSet, points_of
from sparsebench.bench.present.plots.speedup_accuracy import draw, from_runs, pareto_front, save
from sparsebench.models.errors import SparsebenchError
from tests.bench.present.plots.sweeps import thirty_points
from tests.bench.synthetic import SyntheticRun, make_run, true_total

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return make_run()


def all_points(run: SyntheticRun) -> PointSet:
    return points_of(run.records, compare_run(run.records, run.trials), run.trials)


def texts(figures: Any) -> str:
    """All that stands in a figure, or in its pages."""
    pages = figures if isinstance(figures, list) else [figures]
    return "\n".join(text.get_text() for figure in pages for text in figure.findobj(Text))


def test_points_are_trained_cells_with_both_intervals(run: SyntheticRun) -> None:
    found = all_points(run)
    assert found.untrained == 6
    sparse = [point for point in found.points if not point.is_dense]
    assert len(sparse) == 12
    for point in sparse:
        assert point.method != "erk"
        assert point.speedup[0] < point.speedup[1] < point.speedup[2]
        assert point.change[0] < point.change[1] < point.change[2]
        name = f"resnet18/{point.method}-{point.sparsity * 100:g}"
        truth = true_total(point.workload, name, point.engine)
        assert point.speedup[1] == pytest.approx(truth, rel=0.12)


def test_best_dense_engine_stands_at_one_and_zero(run: SyntheticRun) -> None:
    dense = {
        p.engine: p for p in all_points(run).points if p.is_dense and p.workload == "inference"
    }
    assert dense["onnxruntime"].speedup == (1.0, 1.0, 1.0)
    assert dense["torch"].speedup[1] == pytest.approx(1 / 1.6, rel=0.1)
    assert all(point.change == (0.0, 0.0, 0.0) for point in dense.values())


def test_cells_without_accuracy_or_interval_are_counted_not_drawn(run: SyntheticRun) -> None:
    bare = make_run(workloads=("inference",))
    found = all_points(bare)
    assert found.points == ()
    assert (found.untrained, found.incomplete) == (6 // 2, 12 // 2)
    assert all_points(make_run(blocks=1)).without_interval == 12


def test_a_panel_for_each_workload_and_engine_with_whiskers_both_ways(run: SyntheticRun) -> None:
    (figure,) = draw(all_points(run))
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == [
        f"{workload} on digits\n{engine}"
        for workload in ("inference", "linear-cached")
        for engine in ("deepsparse", "onnxruntime", "torch")
    ]
    for axes in panels:
        bars = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
        assert len(bars) == 3
        assert all(bar.has_xerr and bar.has_yerr for bar in bars)
    assert panels[0].get_xscale() == "log"  # from 0.6 to 3.6 times
    assert len({axes.get_xlim() for axes in panels[:3]}) == 1  # engines can be compared by eye
    shown = texts(figure)
    for word in (
        "acdc",
        "magnitude",
        "one-shot",
        "regularization",
        "90% zeros",
        "50% zeros",
        "dense, this engine",
        "Test CPU, 2 CPUs",
        "batch size 64",
        "2 threads",
        "resnet18",
    ):
        assert word in shown
    assert "no worse: at most 0.5 pp lost" in shown and "Pareto front" in shown
    assert "Not shown: 6 cells with generated weights (speed only)." in shown


def test_the_best_dense_engine_stands_at_one_and_zero_in_every_panel(run: SyntheticRun) -> None:
    for axes in draw(all_points(run))[0].axes:
        marks = [line for line in axes.get_lines() if line.get_marker() == "+"]
        assert [np.asarray(line.get_xydata()).tolist() for line in marks] == [[[1.0, 0.0]]]


def test_the_band_of_no_worse_ends_at_the_stated_margin(run: SyntheticRun) -> None:
    (figure,) = draw(all_points(run), margin=1.5)
    band = next(p for p in figure.axes[0].patches if isinstance(p, Rectangle))
    assert (band.get_y(), band.get_height()) == pytest.approx((-1.5, 1.5))
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < -3 and band.get_height() < 0.5 * (top - bottom)  # it does not fill the panel
    assert "no worse: at most 1.5 pp lost" in texts(figure)


def test_one_engine_and_workload_can_be_chosen(run: SyntheticRun) -> None:
    chosen = Selection(workloads=("inference",), engines=("deepsparse",))
    data = RunData.of("", run.records, run.trials)
    (axes,) = from_runs([data], chosen)[0].axes
    assert axes.get_title(loc="left") == "inference on digits\ndeepsparse"
    # Ratios are against the best dense engine of the run, which is not shown.
    shown = sorted(c[0].get_xdata()[0] for c in axes.containers if isinstance(c, ErrorbarContainer))
    backbones = ("resnet18/dense", "resnet18/magnitude-50", "resnet18/acdc-90")
    truth = [true_total("inference", name, "deepsparse") for name in backbones]
    assert shown == pytest.approx(truth, rel=0.12)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-5, 5)), min_size=1, max_size=12))
def test_the_front_holds_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    floats = [(float(x), float(y)) for x, y in points]
    front = pareto_front(floats)
    assert front == sorted(front)
    for x, y in floats:
        beaten = any(a >= x and b >= y and (a, b) != (x, y) for a, b in floats)
        assert ((x, y) in front) is not beaten


def test_labels_of_thirty_points_do_not_collide() -> None:
    for engines in (1, 2, 3):
        (figure,) = draw(thirty_points(engines))
        figure.draw_without_rendering()  # puts annotations where they will stand
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        for axes in figure.axes:
            labels = [text for text in axes.texts if text.get_text()]
            if not axes.axison:
                continue
            assert len(labels) == 10  # each method once; the sizes tell sparsities apart
            # Of the letters alone: an annotation's own box holds its leader line too.
            boxes = [Text.get_window_extent(text, renderer) for text in labels]
            for index, box in enumerate(boxes):
                assert not any(box.overlaps(one) for one in boxes[:index])


def test_narrow_range_has_a_linear_axis(run: SyntheticRun) -> None:
    points = [p for p in all_points(run).points if p.engine == "onnxruntime"]
    assert draw(PointSet(tuple(points)))[0].axes[0].get_xscale() == "linear"


def test_an_interval_is_never_clipped() -> None:
    """However wide: a frame that cut it would show a narrower one."""
    wild = Point("inference", "digits", "a", "acdc", 0.9, "torch", (1e-4, 2.0, 1e5), (-90, -1, 80))
    axes = draw(PointSet((wild,)))[0].axes[0]
    left, right = axes.get_xlim()
    assert left < 1e-4 and right > 1e5
    assert 2 <= len(axes.get_xticks()) <= 7
    bottom, top = axes.get_ylim()
    assert bottom < -90 and top > 80


def front_lines(axes: Any) -> list[list[list[float]]]:
    """The corners of each dashed line, which is the front."""
    return [np.asarray(line.get_xydata()).tolist() for line in axes.get_lines()
            if line.get_linestyle() == "--"]  # fmt: skip


def test_the_front_is_drawn_only_where_its_points_are() -> None:
    def at(engine: str, method: str, speed: float, change: float) -> Point:
        spans = (0.9 * speed, speed, 1.1 * speed), (change - 0.1, change, change + 0.1)
        return Point("inference", "digits", "a", method, 0.9, engine, *spans)

    fast = at("deepsparse", "acdc", 3.0, -1.0), at("deepsparse", "gmp", 2.0, 1.0)
    slow = at("torch", "acdc", 0.8, -1.0), at("torch", "gmp", 0.7, 1.0)
    (figure,) = draw(PointSet((*fast, *slow)))
    with_front, without = figure.axes
    assert front_lines(with_front) == [[[2.0, 1.0], [3.0, 1.0], [3.0, -1.0]]]
    assert front_lines(without) == []


def many_tasks(count: int) -> PointSet:
    """Two workloads on so many tasks, three engines each."""
    spans = (1.9, 2.0, 2.1), (-0.2, 0.0, 0.2)
    return PointSet(tuple(
        Point(workload, f"task{task}", "a", "acdc", 0.9, engine, *spans)
        for task in range(count) for workload in ("inference", "full")
        for engine in ("deepsparse", "onnxruntime", "torch")
    ))  # fmt: skip


@pytest.mark.parametrize(("page", "across"), [(ONE_COLUMN, 1), (TWO_COLUMNS, 3)])
def test_a_page_is_as_wide_as_the_column_and_no_higher(page: Page, across: int) -> None:
    figures = draw(many_tasks(2), page=page)
    seen = []
    for figure in figures:
        width, height = figure.get_size_inches()
        assert width == page.width and height <= page.height
        shown = [axes for axes in figure.axes if axes.axison]
        assert max(sum(a.get_position().y0 == b.get_position().y0 for b in shown)
                   for a in shown) <= across  # fmt: skip
        seen.append([axes.get_title(loc="left") for axes in shown])
    titles = [title for page_titles in seen for title in page_titles]
    assert len(titles) == len(set(titles)) == 12


def test_what_is_too_high_for_a_page_is_split_by_workload() -> None:
    pages = [[axes.get_title(loc="left").split()[0] for axes in figure.axes if axes.axison]
             for figure in draw(many_tasks(3))]  # fmt: skip
    assert pages == [["inference"] * 9, ["full"] * 9]


def test_no_text_is_smaller_than_print_can_bear_or_outside_the_page() -> None:
    for page in (ONE_COLUMN, TWO_COLUMNS):
        (figure,) = draw(many_tasks(1), page=page)[:1]
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            if text.get_text() and text.get_visible():
                assert float(text.get_fontsize()) >= 6
        box = figure.legends[0].get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_dense_cells_with_generated_weights_are_not_drawn(run: SyntheticRun) -> None:
    records = [
        replace(r, backbone=replace(r.backbone, trained=False)) if r.backbone.is_dense else r
        for r in run.records
    ]
    found = all_points(SyntheticRun(records, run.trials))
    assert found.points == ()
    assert found.untrained == 18


def test_crowded_panel_is_split_by_architecture() -> None:
    points = [
        Point(
            workload="inference",
            task="digits",
            arch=arch,
            method=f"m{number % 5}",
            sparsity=0.9,
            engine="torch",
            speedup=(0.9, 1.0 + number / 10, 1.2 + number / 10),
            change=(-2.0, -1.0, 0.0),
        )
        for arch in ("resnet18", "resnet50")
        for number in range(16)
    ]
    titles = [axes.get_title(loc="left") for axes in draw(PointSet(tuple(points)))[0].axes]
    assert titles == [
        "inference on digits, resnet18\ntorch",
        "inference on digits, resnet50\ntorch",
    ]


def test_a_crowded_panel_names_each_method_once_at_its_fastest_point() -> None:
    """A sweep has dozens of points of one sparsity; as many equal labels say nothing."""

    def panel(count: int) -> list[str]:
        points = [
            Point("inference", "digits", "a", f"m{number % 2}", 0.9, "torch",
                  (0.9, 1 + number / 50, 3.0), (-2.0, -number / 50, 1.0))
            for number in range(count)
        ]  # fmt: skip
        (axes,) = (axes for axes in draw(PointSet(tuple(points)))[0].axes if axes.axison)
        found = [text for text in axes.texts if text.get_text()]
        return [f"{text.get_text()} {text.xy[0]:g}" for text in found]  # type: ignore[attr-defined]

    assert len(panel(30)) == 30
    assert sorted(panel(40)) == ["m0 1.76", "m1 1.78"]


def test_files_are_written_as_png_and_svg(run: SyntheticRun, tmp_path: Path) -> None:
    png, svg = save(all_points(run), tmp_path / "new", "speedup-accuracy")
    with Image.open(png) as picture:
        assert picture.size[0] > 1500
        assert picture.info["dpi"][0] == pytest.approx(300, abs=0.1)  # print resolution
        assert np.asarray(picture.convert("L")).std() > 5  # not blank
    assert svg.read_text().lstrip().startswith("<?xml")
    again = save(all_points(run), tmp_path / "again", "speedup-accuracy")
    assert again[1].read_bytes() == svg.read_bytes()


def test_empty_figure_says_why(tmp_path: Path) -> None:
    assert "nothing to plot" in texts(draw(PointSet()))
    assert "3 cells with generated weights" in texts(draw(PointSet(untrained=3)))
    assert all(path.stat().st_size > 0 for path in save(PointSet(), tmp_path, "empty"))


def test_figure_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SparsebenchError, match="cannot be written"):
        save(PointSet(), tmp_path / "file" / "inside", "x")


def test_drawing_leaves_pyplot_and_the_users_settings_alone() -> None:
    code = (
        "import sys, matplotlib; matplotlib.rcParams['font.size'] = 33;"
        "from sparsebench.bench.present.plots.points import PointSet; "
        "from sparsebench.bench.present.plots.speedup_accuracy import draw;"
        "draw(PointSet());"
        "print('matplotlib.pyplot' in sys.modules, matplotlib.rcParams['font.size'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "33.0"]


def test_cells_on_a_gpu_are_an_engine_of_their_own(run: SyntheticRun) -> None:
    records = [replace(r, engine=replace(r.engine, device="cuda")) for r in run.records]
    assert "torch cuda" in {point.engine for point in all_points(SyntheticRun(records, [])).points}


def test_a_figure_of_many_panels_draws_the_first_and_says_how_many_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = replace(TWO_COLUMNS, most=4)
    figures = draw(many_tasks(2), page=page)
    assert sum(axes.axison for figure in figures for axes in figure.axes) == 4
    assert "These are 4 of 12 panels." in "".join(
        text.get_text().replace("\n", " ") for text in figures[0].texts
    )
    assert "--panels 12" in caplog.text
