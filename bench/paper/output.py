"""The files of `sparsebench reproduce --out`: figures, tables.md, CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sparsebench.bench.decide import RunData
from sparsebench.bench.paper.reproduction import Reproduction
from sparsebench.bench.paper.tables import markdown_page
from sparsebench.bench.paper.transfer_cells import TRANSFERS
from sparsebench.bench.present.plots.canvas import NothingToDrawError
from sparsebench.bench.present.plots.saving import save_figure
from sparsebench.bench.present.table import csv_text
from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIPPED = ("resnet18/dense", "resnet18/gmp-90")


def write_all(
    found: Reproduction, runs: Sequence[RunData], out: Path, backbones: Sequence[str]
) -> tuple[list[Path], list[str]]:
    """Write everything into a folder.

    Args:
        found: the tables.
        runs: the runs behind ours.
        out: the folder.
        backbones: whose dead filters to count; by default the runs', or the shipped ones.

    Returns:
        The files, and in words which figure is missing and why.

    Raises:
        SparsebenchError: the folder cannot be written, or a named backbone does not exist.
    """
    written = [
        _write(out / "tables.md", markdown_page(found)),
        _write(out / "error-increase.csv", _error_csv(found)),
        _write(out / "accuracy.csv", _accuracy_csv(found)),
    ]
    missing = []
    for name, draw in _figures(found, runs, backbones).items():
        try:
            written += save_figure(draw(), out, name)
        except NothingToDrawError as error:
            missing.append(f"{name}: {error}")
    return written, missing


def _figures(
    found: Reproduction, runs: Sequence[RunData], backbones: Sequence[str]
) -> dict[str, Callable[[], Figure | list[Figure]]]:
    from sparsebench.bench.paper import difficulty, error_increase, task_grid
    from sparsebench.bench.present.plots import epoch_time

    figures: dict[str, Callable[[], Figure | list[Figure]]] = {}
    for arch in found.archs:
        figures[f"error-increase-{arch}"] = partial(error_increase.draw, found.errors, arch)
        for transfer in TRANSFERS:
            figures[f"tasks-{arch}-{transfer}"] = partial(
                task_grid.draw, found.paper, found.ours, arch, transfer
            )
        figures[f"difficulty-{arch}"] = partial(
            difficulty.draw, found.benefits, found.our_benefits, arch
        )
    figures["epoch-time"] = partial(epoch_time.draw, runs)
    figures["dead-filters"] = partial(_dead_filters, runs, backbones)
    return figures


def _dead_filters(runs: Sequence[RunData], backbones: Sequence[str]) -> Figure:
    """Of the named backbones, of the runs' (as far as their files are here), or of the shipped."""
    from sparsebench.bench.why.inspection import inspect_target
    from sparsebench.bench.why.networks_figure import draw

    if backbones:
        return draw([inspect_target(name) for name in backbones], flops=False)
    measured = dict.fromkeys(
        record.backbone.name for run in runs for record in run.records if record.backbone.trained
    )
    reports, reasons = [], []
    for name in measured or SHIPPED:
        try:
            reports.append(inspect_target(name))
        except SparsebenchError as error:
            reasons.append(error.cause)
    if not reports:
        raise NothingToDrawError(" ".join(reasons), "Name them with --backbone.")
    return draw(reports, flops=False)


def _error_csv(found: Reproduction) -> str:
    rows: list[list[object]] = [
        ["arch", "transfer", "method", "sparsity", "paper", "ours", "tasks", "paper_same_tasks",
         "difference"]
    ]  # fmt: skip
    for row in found.errors:
        rows.append(
            [
                row.model.arch,
                row.transfer,
                row.model.method,
                row.model.sparsity,
                "" if row.paper is None else round(row.paper.value.mid, 3),
                "" if row.ours is None else round(row.ours.value.mid, 3),
                "" if row.ours is None else len(row.ours.tasks),
                "" if row.shared_paper is None else round(row.shared_paper.value.mid, 3),
                "" if row.difference is None else round(row.difference.mid, 3),
            ]
        )
    return csv_text(rows)


def _accuracy_csv(found: Reproduction) -> str:
    ours = {(row.ours.model, row.ours.transfer, row.ours.task): row for row in found.tasks}
    rows: list[list[object]] = [
        ["arch", "transfer", "task", "method", "sparsity", "paper", "ours", "difference", "source"]
    ]
    keys = {(cell.model, cell.transfer, cell.task): cell for cell in found.paper}
    for key in dict.fromkeys((*keys, *ours)):
        model, transfer, task = key
        row, paper = ours.get(key), keys.get(key)
        apart = None if row is None else row.difference
        rows.append(
            [
                model.arch,
                transfer,
                task,
                model.method,
                model.sparsity,
                "" if paper is None else round(paper.mean, 4),
                "" if row is None else round(row.ours.mean, 4),
                "" if apart is None else round(apart.mid, 4),
                "" if row is None else row.ours.source,
            ]
        )
    return csv_text(rows)


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SparsebenchError(
            f"{path} cannot be written: {error.strerror or error}.", "Choose another --out."
        ) from error
    return path
