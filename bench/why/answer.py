"""The reasons for the terminal and for --json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from sparsebench.bench.present import escape
from sparsebench.bench.present.table import Column, Table
from sparsebench.bench.records.plain import plain
from sparsebench.bench.why.findings import PAYS, Finding, bound_of
from sparsebench.bench.why.measure import Measured, Whole

# DeepSparse numbers its steps and puts the share of zeros in: "ks_convolution-49.8%_2".
_KERNEL_NUMBER = re.compile(r"(-[\d.]+%)?_\d+$")


def why_json(measured: Measured, findings: Sequence[Finding]) -> dict[str, Any]:
    """All that was measured and found."""
    layers = [{**asdict(layer), "speedup": layer.speedup} for layer in measured.layers]
    bound = bound_of(measured)
    found = {
        **asdict(measured),
        "whole": _whole(measured.whole),
        "other": _whole(measured.other),
        "layers": layers,
        "bound": None if bound is None else asdict(bound),
        "findings": [asdict(one) for one in findings],
    }
    made: dict[str, Any] = plain(found)
    return made


def why_text(measured: Measured, findings: Sequence[Finding]) -> Iterator[Table | RenderableType]:
    """The answer, the table of layers, then the reasons."""
    whole = measured.whole
    if whole is not None:
        yield Text(escape.visible(_answer(whole, measured)), style="bold")
        low, high = min(whole.ratios), max(whole.ratios)
        yield Text(
            f"{1000 * whole.sparse:.3g} ms a call of {whole.batch_size} as it is, "
            f"{1000 * whole.dense:.3g} ms with its {measured.sparsity:.0%} zeros filled; "
            f"turns from {low:.2f} to {high:.2f} times. {_threads(measured.threads)}, one launch: "
            "a hint, no result; `sparsebench run` gives intervals."
        )
        yield Text("")
        if measured.layers:
            yield _layers(measured)
            yield Text("")
        else:
            yield Text(f"{measured.engine} does not tell the time of layers: timed as a whole.\n")
    if measured.no_code:
        yield Text(f"No code is generated for the pattern: {measured.no_code}\n")
    if not findings:
        yield Text("Nothing holds it back that this measurement can see.")
    for number, one in enumerate(findings, 1):
        yield Text(escape.visible(f"{number}. {one.what}"), style="bold")
        yield Padding(Text(escape.visible(one.evidence)), (0, 0, 0, 3))
        yield Padding(Text.assemble(("Fix: ", "bold"), escape.visible(one.fix)), (0, 0, 0, 3))
    for what in measured.skipped:
        yield Text(escape.visible(f"Not measured: {what}."))
    yield Text(f"({measured.seconds:.0f} s)", style="dim")


def _answer(whole: Whole, measured: Measured) -> str:
    start = f"{measured.target} on {measured.engine}, batch {whole.batch_size}: "
    if whole.speedup >= PAYS:
        return f"{start}its zeros make it {whole.speedup:.2f} times as fast."
    if whole.speedup <= 1 / PAYS:
        return f"{start}its zeros make it slower ({whole.speedup:.2f} times as fast)."
    return f"{start}its zeros make it no faster ({whole.speedup:.2f} times)."


def _layers(measured: Measured) -> Table:
    kinds = [_KERNEL_NUMBER.sub("", layer.kind) for layer in measured.layers]
    peaks = any(layer.peak is not None for layer in measured.layers)
    told = len(set(kinds)) > 1 or peaks
    total = sum(layer.sparse for layer in measured.layers) + measured.rest[1]
    rows = [
        (
            layer.name, f"{layer.sparsity:.0%}", f"{1000 * layer.dense:.3f}",
            f"{1000 * layer.sparse:.3f}", f"{layer.speedup:.2f}×", f"{layer.sparse / total:.0%}",
            _percent(layer.peak), kind if told else "",
        )
        for layer, kind in zip(measured.layers, kinds, strict=True)
    ]  # fmt: skip
    dense, sparse = measured.rest
    rest = ("all else", "", f"{1000 * dense:.3f}", f"{1000 * sparse:.3f}", "")
    rows.append((*rest, f"{sparse / total:.0%}", "", ""))
    header = ("layer", "zeros", "dense ms", "sparse ms", "faster", "share", "of peak", "kernel")
    made = Table.of("", header, rows)
    return replace(made, columns=(*made.columns[:-1], Column("kernel")))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _whole(whole: Whole | None) -> dict[str, Any] | None:
    return None if whole is None else {**asdict(whole), "speedup": whole.speedup}


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
