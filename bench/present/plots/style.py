"""How every figure looks: colours that colour-blind readers tell apart, markers, sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

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
NO_WORSE = "#D3E6F4"  # the band in which an accuracy counts as no worse than dense

# A method and an engine look the same in every figure; others take what is left.
METHODS = (
    "acdc", "gmp", "rigl", "gmp_uniform", "str", "magnitude", "woodfisher", "magnitude_uniform",
    "lth", "lth_t", "mfac", "rigl_erk_1x", "rigl_erk_5x",
)  # fmt: skip
ENGINES = ("deepsparse", "onnxruntime", "openvino", "torch", "torch-compile", "native")
STAGES = (
    "extract", "head", "decode", "augment", "forward", "backward", "optimizer", "evaluate", "load",
    "store", "other",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "<", ">", "p", "P", "X", "h", "8")

PNG_DPI = 300
MOST_PIXELS = 20_000  # along one side; a figure of very many panels gets fewer dots an inch
PANEL_HEIGHTS = {1: 2.8, 2: 2.5, 3: 2.05}  # inches, by panels in a row of two columns' width
COLUMN_PANEL_HEIGHT = 2.3
SMALL = 6.5  # labels and captions, points; the smallest that venues ask for
LABEL = 7.0  # numbers and names along an axis
SIZES = (3.8, 7.0)  # markers of the least and the most sparse network, points

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.labelsize": LABEL,
    "ytick.labelsize": LABEL,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "text.parse_math": False,  # a dollar in the name of a task is a dollar
    "svg.hashsalt": "sparsebench",  # the same figure gives the same file
    "pdf.fonttype": 42,  # letters, not outlines, as venues ask
    "figure.dpi": 100,
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw in the suite's style and leave the user's settings as they are."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib as mpl

        settings: Any = RC
        with mpl.rc_context(settings):
            return draw(*args, **kwargs)

    return inside


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each method."""
    return _assign(methods, METHODS, COLOURS)


def engine_markers(engines: Iterable[str]) -> dict[str, str]:
    """A marker for each engine; a label such as "torch cuda" is an engine of its own."""
    return _assign(engines, ENGINES, MARKERS)


def method_looks(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each method, so that grey prints tell methods apart too."""
    colours = method_colours(methods := list(methods))
    markers = _assign(methods, METHODS, MARKERS)
    return {name: (colour, markers[name]) for name, colour in colours.items()}


def sparsity_sizes(sparsities: Iterable[float]) -> dict[float, float]:
    """Sparsity, 0-1 -> size of its marker, points, by rising sparsity."""
    found = sorted(set(sparsities))
    low, high = SIZES
    if len(found) == 1:
        return {found[0]: (low + high) / 2}
    step = (high - low) / (found[-1] - found[0]) if found else 0.0
    return {sparsity: low + (sparsity - found[0]) * step for sparsity in found}


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
    fixed = dict(zip(known, looks, strict=False))
    taken = {name: fixed[name] for name in wanted if name in fixed}
    free = [look for look in looks if look not in taken.values()] or list(looks)
    others = [name for name in wanted if name not in fixed]
    return taken | {name: free[place % len(free)] for place, name in enumerate(others)}
