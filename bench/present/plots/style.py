"""How every figure looks: colours that colour-blind readers tell apart, markers, sizes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Okabe and Ito (2008), without the yellow that vanishes on white; after the eighth, some of
# Paul Tol's muted ones, which need the markers' help.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#6E6E6E", "#5D3A9B",
    "#882255", "#999933", "#44AA99", "#661100",
)  # fmt: skip
# Neighbours in a stack of bars differ in lightness too; "other" is grey.
STAGE_COLOURS = (
    "#0072B2", "#E69F00", "#56B4E9", "#F5D06F", "#5D3A9B", "#CC79A7", "#D55E00", "#009E73",
    "#8FD3B6", "#A8763E", "#B8B8B8",
)  # fmt: skip
DENSE = "#000000"
GUIDE = "#B8B8B8"
QUIET = "#555555"  # footnotes, and markers that stand for a shape alone
NO_WORSE = "#E6F0F8"  # the band in which an accuracy counts as no worse than dense

# A method and an engine look the same in every figure; others take what is left.
METHODS = (
    "acdc", "magnitude", "magnitude_uniform", "gmp", "rigl", "str", "woodfisher", "lth", "lth_t",
    "mfac", "rigl_erk_1x", "rigl_erk_5x",
)  # fmt: skip
ENGINES = ("deepsparse", "onnxruntime", "openvino", "torch", "torch-compile", "native")
FAMILIES = (
    "progressive", "regularization", "lottery ticket", "structured", "one-shot", "generated",
    "unknown",
)  # fmt: skip
STAGES = (
    "extract", "head", "decode", "augment", "forward", "backward", "optimizer", "evaluate", "load",
    "store", "other",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "8")

PNG_DPI = 300
MOST_PIXELS = 20_000  # along one side; a figure of very many panels gets fewer dots an inch
PANEL_INCHES = (4.6, 3.6)
EMPTY_INCHES = (5.0, 1.6)
SMALL = 7.5  # labels and footnotes, points

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "text.parse_math": False,  # a dollar in the name of a task is a dollar
    "svg.hashsalt": "sparsebench",  # the same figure gives the same file
    "figure.dpi": 100,
}


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each method."""
    return _assign(methods, METHODS, COLOURS)


def engine_markers(engines: Iterable[str]) -> dict[str, str]:
    """A marker for each engine; a label such as "torch cuda" is an engine of its own."""
    return _assign(engines, ENGINES, MARKERS)


def family_markers(families: Iterable[str]) -> dict[str, str]:
    """A marker for each family of methods."""
    return _assign(families, FAMILIES, MARKERS)


def stage_colours(stages: Iterable[str]) -> dict[str, str]:
    """A colour for each stage of a trial, in the order in which the bars stack them."""
    found = _assign(stages, STAGES, STAGE_COLOURS)
    order = {name: place for place, name in enumerate(STAGES)}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], -1), item[0])))


def ink(colour: str) -> str:
    """A darker shade of a colour, for small letters on white."""
    channels = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(0.68 * channel):02X}" for channel in channels)


def _assign(names: Iterable[str], known: tuple[str, ...], looks: tuple[str, ...]) -> dict[str, str]:
    """Known names by their place; the others, sorted, take the looks that are free."""
    wanted = sorted(set(names))
    taken = {name: looks[known.index(name) % len(looks)] for name in wanted if name in known}
    free = [look for look in looks if look not in taken.values()] or list(looks)
    others = [name for name in wanted if name not in known]
    return taken | {name: free[place % len(free)] for place, name in enumerate(others)}
