"""The other figures of runs: what they show, what they leave out, and how they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle

from sparsebench.bench.cli.plot import EPILOG
from sparsebench.bench.cli.plot import FIGURES as NAMED
from sparsebench.bench.comparisons import Records
from sparsebench.bench.decide import RunData
from sparsebench.bench.present.plots import bound, profiles, scaling, stages
from sparsebench.bench.present.plots.axes import nice_ticks
from sparsebench.bench.present.plots.canvas import (
    NothingToDrawError,
)
from sparsebench.bench.present.plots.data import Selection, caption
from sparsebench.bench.present.plots.figures import FIGURES
from sparsebench.bench.present.plots.saving import save_figure
from sparsebench.bench.present.plots.speedup_accuracy import from_runs
from sparsebench.bench.records import Estimate
from sparsebench.models.errors import SparsebenchError
from tests.bench.conftest import Result
from tests.bench.present.plots.sweeps import TRAINED, data, sweep_of_batch_sizes, with_setting
from tests.bench.present.plots.test_speedup_accuracy import texts
from tests.bench.present.tables.test_over_tasks import three_tasks
from tests.bench.synthetic import SyntheticRun, make_run, true_seconds, true_speedup

Cli = Callable[..., Result]


def ends_of_whiskers(axes: Any) -> list[tuple[float, float]]:
    """(x, y) of every point with whiskers."""
    bars = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    return [(float(bar[0].get_xdata()[0]), float(bar[0].get_ydata()[0])) for bar in bars]


def test_stages_stack_to_the_whole_time_dense_first() -> None:
    run = data(make_run(backbones=TRAINED, engines=["deepsparse"], iteration=0.0, process=0.0))
    (figure,) = stages.draw([run])
    (axes,) = figure.axes
    ends: dict[float, float] = {}
    for bar in axes.patches:
        assert isinstance(bar, Rectangle)
        place = round(bar.get_y() + bar.get_height() / 2)
        ends[place] = max(ends.get(place, 0.0), bar.get_x() + bar.get_width())
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert [name.split()[0] for name in names] == ["dense", "magnitude-50", "acdc-90"]
    # The drift of a block is common to all cells, so the ratios are the true ones.
    for place, backbone in enumerate(TRAINED[1:], start=2):
        truth = true_speedup("linear-cached", backbone, "deepsparse")
        assert ends[1] / ends[place] == pytest.approx(truth, rel=1e-6)
    assert "extract" in texts(figure)


def test_stages_carry_accuracies_and_leave_generated_weights_out() -> None:
    shown = texts(stages.draw([data(make_run(engines=["deepsparse"]))]))
    assert re.search(r"acdc-90  90\.\d%", shown)
    assert "erk" not in shown
    assert "Not shown: 1 cell with generated weights (speed only)." in shown


def test_stages_tell_precisions_apart() -> None:
    run = make_run(backbones=TRAINED[:2], engines=["torch"], workloads=["linear-cached"])
    half = with_setting(run, "half", precision="bf16")
    both = RunData.of("", [*run.records, *half.records], [*run.trials, *half.trials])
    (figure,) = stages.draw([both])
    headings = [text.get_text() for text in figure.axes[0].texts]
    assert "torch" in headings and "torch bf16" in headings
    names = [label.get_text().split()[0] for label in figure.axes[0].get_yticklabels()]
    assert names == ["dense", "magnitude-50"] * 2


def test_whiskers_of_a_bound_are_inside_the_frame() -> None:
    run = data(make_run(backbones=TRAINED, engines=["torch"], workloads=["linear-cached"]))
    wide = [replace(one, speedup=Estimate(1.0, (0.02, 50.0), 3)) for one in run.comparisons]
    (axes,) = bound.draw([replace(run, comparisons=tuple(wide))])[0].axes
    assert axes.get_ylim()[0] < 0.02 and axes.get_ylim()[1] > 50


def test_a_caption_names_what_was_measured_and_leaves_the_unknown_out() -> None:
    one = make_run(backbones=TRAINED[:1], engines=["torch"]).records[0]
    known = replace(one, engine=replace(one.engine, version="2.9.0+cpu"))
    assert caption([known]) == "Test CPU, 2 CPUs; resnet18; torch 2.9.0; batch size 64; 2 threads."
    bare = replace(one, machine={}, engine=replace(one.engine, version=None))
    assert caption([bare]) == "resnet18; torch; batch size 64; 2 threads."


def estimates(*pairs: tuple[int, float]) -> list[tuple[int, Estimate]]:
    return [(size, Estimate(v, (0.98 * v, 1.02 * v), 5)) for size, v in pairs]


def test_a_cliff_is_off_the_grid_and_below_both_neighbours() -> None:
    """The figures that the design states for ResNet-18 at 80 %: 2.3, 1.4, 0.9 at 16, 15, 17."""
    found = scaling.cliffs(estimates((8, 2.2), (15, 1.4), (16, 2.3), (17, 0.9), (32, 2.4)))
    assert [(cliff.batch_size, cliff.neighbour) for cliff in found] == [(15, 16), (17, 16)]
    assert found[0].share == pytest.approx(1.4 / 2.2)
    assert found[1].share == pytest.approx(0.9 / 2.3)
    assert scaling.cliffs(estimates((8, 2.2), (12, 2.25), (16, 2.3))) == []
    assert scaling.cliffs(estimates((16, 2.3), (32, 1.0))) == []  # on the grid: no cliff
    wide = [(16, Estimate(2.3, (1.0, 4.0), 3)), (17, Estimate(1.9, (1.5, 2.5), 3))]
    assert scaling.cliffs(wide) == []  # nothing says that they differ


def test_speedup_against_batch_size_rings_the_cliffs() -> None:
    (figure,) = scaling.draw_batch_size(sweep_of_batch_sizes((8, 15, 16, 32)))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "15", "16", "32"]
    rings = [line for line in axes.get_lines() if line.get_markersize() == 12]
    assert [float(np.asarray(line.get_xdata())[0]) for line in rings] == [
        1,
        1,
    ]  # both backbones, at 15
    for (place, speedup), backbone in zip(
        ends_of_whiskers(axes), [TRAINED[1]] * 4 + [TRAINED[2]] * 4, strict=True
    ):
        truth = true_speedup("inference", backbone, "deepsparse") / (1.5 if place == 1 else 1)
        assert speedup == pytest.approx(truth, rel=0.12)
    assert " pp)" in texts(figure)  # the accuracy change stands beside each speed-up


def test_speedup_against_threads() -> None:
    runs = [
        data(with_setting(make_run(seed=n, backbones=TRAINED), f"t{n}", threads=n)) for n in (1, 2)
    ]
    (figure,) = scaling.draw_threads(runs, Selection(engines=("torch",), workloads=("inference",)))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    low, high = axes.get_ylim()  # all ratios are about 1: their noise fills no panel
    assert low <= 0.8 and high >= 1.25
    with pytest.raises(NothingToDrawError, match="two batch sizes"):
        scaling.draw_batch_size(runs)


def test_times_of_two_machines_never_share_a_figure() -> None:
    other = make_run(machine={"fingerprint": "f" * 16})
    with pytest.raises(SparsebenchError, match="2 machines"):
        scaling.draw_threads([data(make_run()), data(other)])
    with pytest.raises(SparsebenchError, match="2 machines"):
        profiles.draw([data(make_run()), data(other)])


def test_measured_against_bound() -> None:
    run = make_run(backbones=TRAINED, engines=["deepsparse"], workloads=["linear-cached"])
    (axes,) = bound.draw([data(run)])[0].axes
    for (limit, speedup), backbone, flops in zip(
        ends_of_whiskers(axes), TRAINED[1:], (0.55, 0.16), strict=True
    ):
        assert speedup == pytest.approx(
            true_speedup("linear-cached", backbone, "deepsparse"), rel=0.1
        )
        # Amdahl by hand: the other stages take 0.4 s, whatever the zeros.
        dense = true_seconds("linear-cached", TRAINED[0], "deepsparse")
        assert limit == pytest.approx(dense / (0.4 + flops * (dense - 0.4)), rel=0.02)


def test_a_network_in_int8_has_an_accuracy_change_of_its_own() -> None:
    """Seen: one network on one task, +0.9 pp and +1.1 pp in one caption."""
    plain = make_run(backbones=TRAINED[::2], engines=["deepsparse"], workloads=["linear-cached"])
    other = with_setting(plain, "i8", precision="int8")
    lost = [
        replace(
            r, accuracy=replace(r.accuracy, per_seed=tuple(s - 0.1 for s in r.accuracy.per_seed))
        )
        if r.accuracy and not r.backbone.is_dense
        else r
        for r in other.records
    ]
    (figure,) = bound.draw([data(plain), data(SyntheticRun(lost, other.trials))])
    (said,) = re.findall(
        r"Accuracy change: ([^.]*\.\d pp; .*\.\d pp)\.", " ".join(texts(figure).split())
    )
    assert re.fullmatch(
        r"resnet18/acdc-90 on digits \S+ pp; resnet18/acdc-90 int8 on digits \S+ pp", said
    )


def test_performance_profile_is_the_table_s() -> None:
    (axes, _) = profiles.draw([data(three_tasks())])[0].axes
    curves = {line.get_label(): np.asarray(line.get_xydata()) for line in axes.get_lines()}
    fastest = max(curves.values(), key=lambda curve: curve[0][1])
    assert fastest[0][1] == 1.0  # acdc-90 on deepsparse wins every task
    assert all((np.diff(curve[:, 1]) >= 0).all() for curve in curves.values())


def test_ticks_are_few_and_inside() -> None:
    for low, high in ((0.5, 3), (0.9, 1.2), (1, 1.25), (0.3, 90), (1 / 900, 900), (1, 16)):
        ticks = nice_ticks(low, high)
        assert 2 <= len(ticks) <= 7, (low, high, ticks)
        assert all(low <= tick <= high for tick in ticks)
    assert nice_ticks(0.7, 2.8) == [0.75, 1.0, 1.5, 2.0]


def test_help_names_every_figure() -> None:
    assert tuple(FIGURES) == NAMED
    for name in FIGURES:
        assert f"{name}  " in EPILOG
        words = FIGURES.load(name).__doc__.rstrip(".").split(",")[0].lower()
        assert words in EPILOG.lower()


@pytest.mark.usefixtures("coarse_figures")
def test_the_command_draws_what_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    run = make_run(blocks=3, backbones=TRAINED, engines=["deepsparse", "torch"])
    run.write(tmp_path / "run")
    done = cli("plot", tmp_path / "run", "--figure", "all", "--out", tmp_path / "all")
    assert done.code == 0, done.err
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names == sorted(
        f"{name}.{suffix}"
        for name in ("speedup-accuracy", "stages", "bound")
        for suffix in ("png", "svg")
    )
    assert "not drawn: batch-size: No sparse backbone was measured at two" in done.err
    paper = cli("plot", tmp_path / "run", "--figure", "bound", "--format", "pdf", "--format", "png",
                "--columns", "1", "--out", tmp_path / "paper")  # fmt: skip
    assert paper.code == 0, paper.err
    assert {path.name for path in (tmp_path / "paper").iterdir()} == {"bound.pdf", "bound.png"}
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", (tmp_path / "paper" / "bound.pdf").read_bytes())
    assert box and float(box[1]) == pytest.approx(3.3 * 72, abs=0.1)  # a column, in points
    assert cli("plot", tmp_path / "run", "--format", "jpg").code == 2
    one = cli("plot", tmp_path / "run", "--figure", "bound", "--engine", "torch",
              "--out", tmp_path / "mine.svg")  # fmt: skip
    assert one.code == 0, one.err
    assert (tmp_path / "mine.svg").is_file() and (tmp_path / "mine.png").is_file()
    assert cli("plot", tmp_path / "run").code == 0
    assert (tmp_path / "run" / "speedup-accuracy.png").is_file()


@pytest.mark.parametrize(
    ("option", "name", "nearest"),
    [("--figure", "stage", "'stages'"), ("--engine", "deepspars", "'deepsparse'"),
     ("--workload", "inferense", "'inference'"), ("--task", "digit", "'digits'")],
)  # fmt: skip
def test_unknown_names_offer_the_nearest(
    cli: Cli, tmp_path: Path, option: str, name: str, nearest: str
) -> None:
    make_run(blocks=2, backbones=TRAINED[:2], engines=["deepsparse"]).write(tmp_path / "run")
    done = cli("plot", tmp_path / "run", option, name)
    assert done.code == 2 and "Traceback" not in done.err
    assert nearest in done.err


def test_a_figure_without_material_exits_three_and_says_why(cli: Cli, tmp_path: Path) -> None:
    make_run(blocks=2, backbones=TRAINED[:2], engines=["torch"]).write(tmp_path / "run")
    done = cli("plot", tmp_path / "run", "--figure", "threads")
    assert done.code == 3
    assert "two numbers of threads" in done.err and "--threads 1 --threads 2" in done.err


def test_several_figures_do_not_go_into_one_file(cli: Cli, tmp_path: Path) -> None:
    make_run(blocks=2, backbones=TRAINED[:2], engines=["torch"]).write(tmp_path / "run")
    done = cli("plot", tmp_path / "run", "--figure", "all", "--out", tmp_path / "one.png")
    assert done.code == 2 and "one file" in done.err


def test_the_name_of_a_task_is_text_and_no_formula(tmp_path: Path) -> None:
    run = make_run(blocks=3, backbones=TRAINED[:2], engines=["torch"])
    name = "a$^{b$ <script>"
    records = [replace(r, task=replace(r.task, name=name)) for r in run.records]
    odd = RunData.of("", records, run.trials)
    for figure in (from_runs([odd]), stages.draw([odd])):
        assert name in texts(figure)
        _, svg = save_figure(figure, tmp_path, "odd")
        assert "<script" not in svg.read_text()


def test_a_run_without_an_accuracy_enters_no_figure() -> None:
    bare = data(make_run(workloads=("inference",), backbones=TRAINED))
    with pytest.raises(NothingToDrawError, match="6 cells without an accuracy"):
        bound.draw([bare])
    with pytest.raises(NothingToDrawError, match="6 cells without a speed-up or an accuracy"):
        from_runs([bare])
    hidden: RunData = replace(bare, records=Records(replace(r, trials=()) for r in bare.records))
    with pytest.raises(NothingToDrawError):
        stages.draw([hidden])


def test_a_figures_file_is_of_a_kind_that_is_written(cli: Cli, tmp_path: Path) -> None:
    """`--out x.jpg` made a folder of that name, and so did `--out x.PNG`."""
    make_run(backbones=TRAINED).write(tmp_path / "run")
    for name in ("x.jpg", "x.TIFF"):
        done = cli("plot", tmp_path / "run", "--out", tmp_path / name)
        assert done.code == 2 and "Name it .png, .svg or .pdf" in done.err
        assert not (tmp_path / name).exists()
    assert cli("plot", tmp_path / "run", "--out", tmp_path / "x.PNG", "--format", "png").code == 0
    assert (tmp_path / "x.png").is_file()
    assert cli("plot", tmp_path / "run", "--out", tmp_path / "v1.2").code == 0
    assert (tmp_path / "v1.2" / "speedup-accuracy.png").is_file()
