"""Draw the images of the documentation from the committed reference runs.

uv run --no-sync python docs/make_pictures.py

Each has a variant for dark pages. Where Chromium is on the PATH it also photographs the report, in
light and dark.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import sparsebench
from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.present.plots.axes import log_axis
from sparsebench.bench.present.plots.style import COLOURS, GUIDE, RC, SMALL
from sparsebench.bench.present.summaries import plot_runs
from sparsebench.bench.records import Comparison, Record, RunFolder
from sparsebench.bench.statistics import SMALLEST_EFFECT_OF_INTEREST

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "results" / "reference" / "amd-epyc-2cpu" / "quick"
REPORTED = RUN.with_name("quick-native-int8")
OUT = ROOT / "docs" / "pictures"


def make(out: Path = OUT) -> list[Path]:
    """Write all images into a folder; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    folder = RunFolder.reading(RUN)
    records, trials = folder.records(), folder.trials()
    names = {record.id: record for record in records}
    found = [one for one in compare_run(records, trials) if one.speedup and one.speedup.ci95]
    with plt.rc_context(RC):
        made = [_intervals(found, names, out), _bounds(found, names, out)]
    drawn = plot_runs([RunFolder.reading(REPORTED)], out / "speedup-accuracy.png")
    for path in drawn:
        if path.suffix == ".svg":
            path.unlink()  # the PNG is enough here
    made.append(out / "speedup-accuracy.png")
    return made + [_dark(path) for path in made]


def _label(comparison: Comparison, names: dict[str, Record]) -> str:
    record = names[comparison.sparse]
    backbone = record.backbone.name.partition("/")[2]
    return f"{backbone}, {record.engine.name}, {record.workload}"


def _intervals(found: list[Comparison], names: dict[str, Record], out: Path) -> Path:
    """Speed-ups with their intervals, the line of no change and the band that does not count."""
    figure, axes = plt.subplots(figsize=(7.0, 3.2), layout="constrained")
    colours = {"better": COLOURS[0], "worse": COLOURS[1]}
    effect = 1 + SMALLEST_EFFECT_OF_INTEREST
    axes.axvspan(1 / effect, effect, color=GUIDE, alpha=0.4, lw=0)
    axes.axvline(1, color=GUIDE)
    for place, one in enumerate(reversed(found)):
        assert one.speedup is not None and one.speedup.ci95 is not None
        colour = colours.get(one.verdict or "", COLOURS[6])
        axes.plot(one.speedup.ci95, [place, place], color=colour, lw=2)
        axes.plot([one.speedup.median], [place], "o", color=colour, ms=5)
        axes.annotate(one.verdict or "", (one.speedup.ci95[1], place), xytext=(5, 0),
                      textcoords="offset points", va="center", color=colour)  # fmt: skip
    axes.set_yticks(range(len(found)), [_label(one, names) for one in reversed(found)])
    ends = [end for one in found if one.speedup and one.speedup.ci95 for end in one.speedup.ci95]
    log_axis(axes, "x", 0.93 * min(ends), 1.3 * max(ends))  # with room for the last verdict
    figure.supxlabel(
        f"speed-up vs dense, same engine, with 95% confidence intervals; grey: less than "
        f"{SMALLEST_EFFECT_OF_INTEREST:.0%}",
        size=7.5,
    )
    return _save(figure, out / "intervals.png")


def _bounds(found: list[Comparison], names: dict[str, Record], out: Path) -> Path:
    """What was measured as a bar, what theory allows as a mark."""
    shown = [one for one in found if one.amdahl_bound is not None]
    figure, axes = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
    for place, one in enumerate(reversed(shown)):
        assert one.speedup is not None and one.amdahl_bound is not None
        axes.barh(place, one.speedup.median, color=COLOURS[0], height=0.7)
        axes.plot([one.amdahl_bound] * 2, [place - 0.38, place + 0.38], color=COLOURS[1], lw=2.5)
        axes.annotate(f"{one.speedup.median / one.amdahl_bound:.0%}", (0.04, place),
                      va="center", color="white", fontsize=SMALL)  # fmt: skip
    axes.set_yticks(range(len(shown)), [_label(one, names) for one in reversed(shown)])
    figure.supxlabel(
        "bar: speed-up vs dense, same engine; line: bound; number: efficiency", size=7.5
    )
    axes.axvline(1, color=GUIDE, zorder=0)
    return _save(figure, out / "bounds.png")


def _save(figure: plt.Figure, path: Path) -> Path:
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


# Björn Ottosson, "A perceptual color space for image processing" (2020): linear sRGB to the cones'
# responses, and their cube roots to lightness and two axes of hue.
CONES = np.array([[0.4122214708, 0.5363325363, 0.0514459929],
                  [0.2119034982, 0.6806995451, 0.1073969566],
                  [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
OKLAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468],
                  [1.9779984951, -2.4285922050, 0.4505937099],
                  [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip
DARKEST, LIGHTEST = 0.22, 0.95  # OKLab lightness of what was white, and of what was black


def _dark(path: Path) -> Path:
    """The same picture with its lightness turned over: every hue and every contrast stays."""
    with Image.open(path) as picture:
        rgb = np.asarray(picture.convert("RGB")) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lab = np.cbrt(linear @ CONES.T) @ OKLAB.T
    lab[..., 0] = LIGHTEST + (DARKEST - LIGHTEST) * lab[..., 0]
    linear = ((lab @ np.linalg.inv(OKLAB).T) ** 3 @ np.linalg.inv(CONES).T).clip(0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    made = path.with_name(f"{path.stem}-dark.png")
    Image.fromarray((255 * rgb).round().astype(np.uint8)).quantize(128).save(made, optimize=True)
    return made


def photograph(chromium: str, out: Path) -> list[Path]:
    """The top of a report in both colour schemes."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    with TemporaryDirectory() as folder:
        page = sparsebench.load(REPORTED).report(Path(folder) / "report.html")
        for number, scheme in enumerate(("dark", "light")):  # Chromium's numbers
            made.append(out / f"report-{scheme}.png")
            options = [
                "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--window-size=1280,730", "--virtual-time-budget=5000",
                f"--blink-settings=preferredColorScheme={number}", f"--screenshot={made[-1]}",
            ]  # fmt: skip
            subprocess.run([chromium, *options, page.as_uri()], check=True, capture_output=True)
            with Image.open(made[-1]) as picture:
                small = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
            small.save(made[-1], optimize=True)
    return made


if __name__ == "__main__":
    for written in make(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT):
        print(written)
    if found := shutil.which("chromium"):
        for written in photograph(found, ROOT / "docs" / "screenshots"):
            print(written)
