"""From what was measured to reasons, each with its evidence and its fix.

A pure function over `Measured`. A reason is given only where the measurement shows it; what is
a rule and not measured here says so, with its source.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.statistics import amdahl_bound
from sparsebench.bench.why.layers import LayerPair
from sparsebench.bench.why.measure import Measured, near_grid

PAYS = 1.1
"""A layer whose zeros make it faster by less than a tenth does not pay here."""
SPARSE_FROM = 0.1
"""Below a tenth of zeros a layer counts as dense."""
SKIP_ZEROS = ("deepsparse", "native")


@dataclass(frozen=True)
class Finding:
    """One reason.

    Attributes:
        what: the reason, a short sentence.
        evidence: what was measured, or the rule and its source.
        fix: what to do about it.
    """

    what: str
    evidence: str
    fix: str


@dataclass(frozen=True)
class Bound:
    """What zeros could give at most, by Amdahl's law over the dense profile.

    Attributes:
        speedup: of the whole call, if every layer took the share of its time that its
            non-zeros are, and all else its own time.
        dense_layers: share of the dense time in layers without zeros, 0-1.
        rest: share in steps without weights, 0-1.
    """

    speedup: float
    dense_layers: float
    rest: float


def explain(measured: Measured) -> list[Finding]:
    """All reasons, the costliest first as far as the measurement tells."""
    if measured.refused:
        return [_refused(measured)]
    checks = (
        _no_zeros,
        _zeros_are_multiplied,
        _too_few_zeros,
        _little_to_gain,
        _off_grid,
        _outside,
        _dead_filters,
    )
    return [found for check in checks if (found := check(measured)) is not None]


def bound_of(measured: Measured) -> Bound | None:
    """Amdahl's bound from the profile; None where the engine told no layers.

    Each layer i with dense time t_i and a share z_i of zeros may fall to t_i (1 - z_i); with T
    the whole dense time and p, s the share and the speed-up of the layers together, this is
    1 / ((1 - p) + p / s).
    """
    if not measured.layers:
        return None
    layers = sum(layer.dense for layer in measured.layers)
    total = layers + measured.rest[0]
    left = sum(layer.dense * (1 - layer.sparsity) for layer in measured.layers)
    plain = sum(layer.dense for layer in measured.layers if layer.sparsity < SPARSE_FROM)
    inside = math.inf if left == 0 else layers / left
    return Bound(amdahl_bound(layers / total, inside), plain / total, measured.rest[0] / total)


def paying_from(layers: Sequence[LayerPair]) -> float | None:
    """The least share of zeros that pays here; None where no layer's zeros do.

    The threshold that sorts the measured layers best into paying ones above and others below,
    each weighed by its dense time; of equally good ones the lowest.
    """
    sparse = sorted(
        (layer for layer in layers if layer.sparsity >= SPARSE_FROM), key=lambda one: one.sparsity
    )
    if not any(layer.speedup >= PAYS for layer in sparse):
        return None

    def right(threshold: float) -> float:
        return sum(
            layer.dense for layer in sparse
            if (layer.speedup >= PAYS) == (layer.sparsity >= threshold)
        )  # fmt: skip

    return max((layer.sparsity for layer in sparse), key=lambda one: (right(one), -one))


def _no_zeros(measured: Measured) -> Finding | None:
    if measured.sparsity >= SPARSE_FROM:
        return None
    return Finding(
        "It has hardly any zeros.",
        f"{measured.sparsity:.1%} of its weights are zero.",
        "Prune it (`sparsebench list methods`), or check that the right file was read: saving "
        "the masked instead of the multiplied weights loses the zeros.",
    )


def _zeros_are_multiplied(measured: Measured) -> Finding | None:
    """The engine treats zeros like other numbers."""
    half = [layer for layer in measured.layers if layer.sparsity >= 0.5]
    if measured.whole is None or measured.sparsity < SPARSE_FROM:
        return None
    told = [layer.skips for layer in measured.layers if layer.skips is not None]
    if any(told) or measured.engine in SKIP_ZEROS:
        return None
    if half:
        total = sum(layer.dense for layer in half) / sum(layer.sparse for layer in half)
        if total >= PAYS:
            return None
        evidence = (
            f"The {len(half)} layers with half or more zeros ran {total:.2f} times as fast as "
            "with their zeros filled."
        )
    elif measured.whole.speedup < PAYS:
        evidence = (
            f"The whole network ran {measured.whole.speedup:.2f} times as fast as with its zeros "
            "filled; the engine does not tell the time of layers."
        )
    else:
        return None
    fix = (
        "Run it on an engine that skips zeros: --engine native (the suite's own kernels) or "
        "--engine deepsparse (evaluation only)."
    )
    if measured.dead_filters > 0.05:
        fix += " Filters that are entirely zero can be removed for any engine: +compact."
    return Finding(f"{measured.engine} multiplies zeros like any number.", evidence, fix)


def _too_few_zeros(measured: Measured) -> Finding | None:
    """Layers below the sparsity that pays."""
    if _zeros_are_multiplied(measured) is not None:
        return None  # none pays, and what seems to is noise
    threshold = paying_from(measured.layers)
    if threshold is None:
        if not any(layer.skips for layer in measured.layers):
            return None  # nothing is told
        below = [layer for layer in measured.layers if layer.sparsity >= SPARSE_FROM]
        start = f"No layer became {PAYS - 1:.0%} faster by its zeros"
    else:
        below = [
            layer for layer in measured.layers
            if SPARSE_FROM <= layer.sparsity < threshold and layer.speedup < PAYS
        ]  # fmt: skip
        paid = [layer.speedup for layer in measured.layers if layer.sparsity >= threshold]
        start = f"From {threshold:.0%} zeros on, layers ran {statistics.median(paid):.1f} times "
        start += "as fast (median)"
    if not below:
        return None
    total = sum(layer.sparse for layer in measured.layers) + measured.rest[1]
    share = sum(layer.sparse for layer in below) / total
    plain = [layer for layer in below if layer.skips is False]
    words = f"; {len(below)} with fewer take {share:.0%} of the time: {_named(below)}."
    if threshold is None:
        words = f"; the {len(below)} sparse ones take {share:.0%} of the time: {_named(below)}."
    if plain:
        words += f" {len(plain)} of them it runs with a dense kernel."
    goal = "further" if threshold is None else f"to {threshold:.0%} zeros or more"
    return Finding(
        "Layers have too few zeros to pay.",
        start + words,
        f"Prune these {goal}, or leave them dense: their zeros cost accuracy and give no time.",
    )


def _little_to_gain(measured: Measured) -> Finding | None:
    """Amdahl."""
    bound = bound_of(measured)
    if bound is None or measured.whole is None or measured.sparsity < SPARSE_FROM:
        return None
    total = sum(layer.sparse for layer in measured.layers) + measured.rest[1]
    first = max(measured.layers, key=lambda layer: layer.sparse)
    share = first.sparse / total
    evidence = (
        f"If all zeros cost nothing, the whole would be {bound.speedup:.1f} times as fast; "
        f"measured: {measured.whole.speedup:.1f} times. Layers without zeros take "
        f"{bound.dense_layers:.0%} of the dense time, steps without weights {bound.rest:.0%}."
    )
    fix = (
        f"What costs most now is {first.name}: {share:.0%} of the time, {first.sparsity:.0%} "
        "zeros. Only what is done there can help much."
    )
    return Finding(f"Amdahl's law allows {bound.speedup:.1f} times at most.", evidence, fix)


def _off_grid(measured: Measured) -> Finding | None:
    """Batch sizes for which the engine's kernels are not made."""
    whole = measured.whole
    if whole is None or measured.sparsity < SPARSE_FROM:
        return None
    lanes = measured.lanes
    # Up to half a block is computed pixel by pixel and costs what it is.
    if lanes and whole.batch_size % lanes > lanes // 2:
        paid = math.ceil(whole.batch_size / lanes) * lanes
        return Finding(
            f"Batch {whole.batch_size} is not a multiple of {lanes}.",
            f"The kernels take {lanes} images at once (the engine says so): a call costs what "
            f"{paid} images cost.",
            f"Take --batch-size {paid}, or another multiple of {lanes}.",
        )
    grid = near_grid(whole.batch_size) if measured.engine == "deepsparse" else None
    if grid is None:
        return None
    other = measured.other
    if other is None:
        return Finding(
            f"Batch {whole.batch_size} is off the engine's grid.",
            "Rule, not measured here: DeepSparse's sparse kernels are made for powers of two "
            "from 16 up (ResNet-18, 80 % zeros, 224 px, 2 cores: 2.3 times as fast as dense at "
            "batch 16, 0.9 times at 17).",
            f"Try --batch-size {grid}.",
        )
    if other.speedup < PAYS * whole.speedup:
        return None
    return Finding(
        f"Batch {whole.batch_size} is off the engine's grid.",
        f"The zeros made it {whole.speedup:.2f} times as fast at batch {whole.batch_size} and "
        f"{other.speedup:.2f} times at batch {other.batch_size}; an image took "
        f"{1000 * whole.sparse / whole.batch_size:.3g} ms and "
        f"{1000 * other.sparse / other.batch_size:.3g} ms.",
        f"Collect (or pad) calls to --batch-size {other.batch_size}.",
    )


def _outside(measured: Measured) -> Finding | None:
    """Operators that the engine does not run itself."""
    total = sum(layer.sparse for layer in measured.layers) + measured.rest[1]
    share = measured.outside / total if total else 0.0
    fraction = measured.supported_fraction
    if share < 0.05 and (fraction is None or fraction > 0.999):
        return None
    words = []
    if fraction is not None and fraction <= 0.999:
        words.append(f"The engine runs {fraction:.0%} of the operators itself")
    if share >= 0.01:
        words.append(f"{share:.0%} of the time is in what it leaves to a plain executor")
    return Finding(
        "Operators are not supported.",
        "; ".join(words) + ".",
        "Export with batch norm folded and opset 13 (`sparsebench export --engine deepsparse` "
        "does), and replace unusual activations by ReLU.",
    )


def _dead_filters(measured: Measured) -> Finding | None:
    if measured.dead_filters <= 0.05:
        return None
    return Finding(
        "Filters are entirely zero and still computed.",
        f"{measured.dead_filters:.0%} of the convolutions' filters have no non-zero weight.",
        "`+compact` behind the backbone's name removes them: less work on every engine, same "
        "outputs.",
    )


def _refused(measured: Measured) -> Finding:
    return Finding(
        f"{measured.engine} does not run it at all.",
        measured.refused,
        "`sparsebench doctor` says what runs here; try another --engine (onnxruntime runs most "
        "files).",
    )


def _named(layers: Sequence[LayerPair], most: int = 4) -> str:
    ordered = sorted(layers, key=lambda layer: -layer.sparse)
    names = [f"{layer.name} ({layer.sparsity:.0%})" for layer in ordered[:most]]
    more = len(ordered) - most
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
