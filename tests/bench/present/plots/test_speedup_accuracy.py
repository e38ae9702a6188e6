"""The figure: what it shows, what it leaves out, and that labels keep clear of each other."""

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
from sparsebench.bench.present.plots import style
from sparsebench.bench.present.plots.data import RunData, Selection
from sparsebench.bench.present.plots.labels import Box, place
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


def texts(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


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
    figure = draw(all_points(run))
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
    for word in ("acdc", "magnitude", "one-shot", "regularization", "90%", "50%", "hollow: dense"):
        assert word in shown
    assert "no worse: at most 0.5 points lost" in shown and "Pareto front" in shown
    assert "Not shown: 6 cells with generated weights (speed only)." in shown


def test_the_best_dense_engine_stands_at_one_and_zero_in_every_panel(run: SyntheticRun) -> None:
    for axes in draw(all_points(run)).axes:
        marks = [line for line in axes.get_lines() if line.get_marker() == "+"]
        assert [np.asarray(line.get_xydata()).tolist() for line in marks] == [[[1.0, 0.0]]]


def test_the_band_of_no_worse_ends_at_the_stated_margin(run: SyntheticRun) -> None:
    figure = draw(all_points(run), margin=1.5)
    band = next(p for p in figure.axes[0].patches if isinstance(p, Rectangle))
    assert band.get_y() == pytest.approx(-1.5)
    assert "no worse: at most 1.5 points lost" in texts(figure)


def test_one_engine_and_workload_can_be_chosen(run: SyntheticRun) -> None:
    chosen = Selection(workloads=("inference",), engines=("deepsparse",))
    data = RunData.of(run.records, run.trials)
    (axes,) = from_runs([data], chosen).axes
    assert axes.get_title(loc="left") == "inference on digits, deepsparse"
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
        figure = draw(thirty_points(engines))
        figure.draw_without_rendering()  # puts annotations where they will stand
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        for axes in figure.axes:
            labels = [text for text in axes.texts if text.get_text().endswith("%")]
            if not axes.axison:
                continue
            assert len(labels) == 30
            # Of the letters alone: an annotation's own box holds its leader line too.
            boxes = [Text.get_window_extent(text, renderer) for text in labels]
            for index, box in enumerate(boxes):
                assert not any(box.overlaps(one) for one in boxes[:index])


def test_narrow_range_has_a_linear_axis(run: SyntheticRun) -> None:
    points = [p for p in all_points(run).points if p.engine == "onnxruntime"]
    assert draw(PointSet(tuple(points))).axes[0].get_xscale() == "linear"


def test_endless_whisker_does_not_squeeze_the_points() -> None:
    wild = Point("inference", "digits", "a", "acdc", 0.9, "torch", (1e-4, 2.0, 1e5), (-90, -1, 80))
    axes = draw(PointSet((wild,))).axes[0]
    left, right = axes.get_xlim()
    assert 0.1 < left < 0.5 and 4 < right < 20
    assert 3 <= len(axes.get_xticks()) <= 7
    bottom, top = axes.get_ylim()
    assert bottom > -10 and top < 10


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
    titles = [axes.get_title(loc="left") for axes in draw(PointSet(tuple(points))).axes]
    assert titles == [
        "inference on digits, resnet18, torch",
        "inference on digits, resnet50, torch",
    ]


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


def test_same_method_and_engine_look_the_same_in_every_figure() -> None:
    few = style.method_colours(["acdc", "gmp"])
    many = style.method_colours(["gmp", "acdc", "str", "mine", "yours"])
    assert few["acdc"] == many["acdc"] and few["gmp"] == many["gmp"]
    assert len(set(many.values())) == 5
    assert len(set(style.engine_markers(["torch", "torch cuda", "deepsparse"]).values())) == 3


def test_colours_stay_apart_for_colour_blind_readers() -> None:
    """Deuteranopia after Vienot et al. (1999): every pair stays distinguishable."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714],
                       [0.0299566, 0.184309, 1.46709]])  # fmt: skip
    blind = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    seen = []
    for colour in style.COLOURS[:6]:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        seen.append(np.linalg.inv(to_lms) @ blind @ to_lms @ rgb**2.2)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 0.05


def overlap(a: Box, b: Box) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def test_labels_keep_clear_of_points_and_each_other() -> None:
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.uniform(40, 260, (14, 2))]
    points += [(150.0, 150.0), (153.0, 152.0), (149.0, 147.0)]  # a crowd
    sizes = [(30.0, 9.0)] * len(points)
    marks = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    placed = place(points, sizes, marks, (0, 0, 300, 300))
    boxes = [(p.x - 15, p.y - 4.5, p.x + 15, p.y + 4.5) for p in placed]
    for index, box in enumerate(boxes):
        assert all(overlap(box, mark) == 0 for mark in marks)
        assert all(overlap(box, other) == 0 for other in boxes[:index])
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= 300 and box[3] <= 300


def test_lone_label_stays_at_its_point() -> None:
    (spot,) = place([(100, 100)], [(30, 9)], [(96, 96, 104, 104)], (0, 0, 200, 200))
    assert not spot.leader
    assert np.hypot(spot.x - 100, spot.y - 100) < 30


def test_cells_on_a_gpu_are_an_engine_of_their_own(run: SyntheticRun) -> None:
    records = [replace(r, engine=replace(r.engine, device="cuda")) for r in run.records]
    assert "torch cuda" in {point.engine for point in all_points(SyntheticRun(records, [])).points}
