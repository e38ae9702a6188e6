"""Cells of the transfer study: one accuracy for each network, task and kind of transfer."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import format_percent

Transfer = Literal["linear", "full"]
TRANSFERS: tuple[Transfer, ...] = ("linear", "full")
DENSE = "dense"
LABELS = {
    "dense": "Dense",
    "acdc": "AC/DC",
    "str": "STR",
    "rigl_erk_1x": "RigL ERK 1x",
    "rigl_erk_5x": "RigL ERK 5x",
    "woodfisher": "WoodFisher",
    "mfac": "M-FAC",
    "lth_t": "LTH-T",
    "gmp": "GMP",
}
"""The methods as the paper writes them, in the order of its tables."""


@dataclass(frozen=True)
class Model:
    """A network: architecture, pruning method, nominal sparsity 0-1."""

    arch: str
    method: str
    sparsity: float

    @property
    def label(self) -> str:
        """Method and sparsity as a table writes them."""
        name = label_of(self.method)
        return name if self.method == DENSE else f"{name} {format_percent(self.sparsity)}%"


@dataclass(frozen=True)
class Cell:
    """One network on one task.

    Args:
        model: the network.
        transfer: "linear" or "full" fine-tuning.
        task: name in this suite.
        mean: test accuracy over the trainings, per cent.
        std: standard deviation over them (n - 1), per cent; None for a single one.
        trainings: how many.
        dense: mean of the dense baseline on the same task, per cent; None where it is missing.
        source: where a cell of ours is from: run, engine and record.
    """

    model: Model
    transfer: Transfer
    task: str
    mean: float
    std: float | None
    trainings: int
    dense: float | None
    source: str = ""

    @property
    def error_increase(self) -> float | None:
        """Relative error increase over dense, per cent: 100 * (dense - mean) / (100 - dense)."""
        if self.dense is None or self.dense >= 100:
            return None
        return 100 * (self.dense - self.mean) / (100 - self.dense)

    @property
    def change(self) -> float | None:
        """Accuracy change against dense, points."""
        return None if self.dense is None else self.mean - self.dense


def paper_cells() -> list[Cell]:
    """The paper's cells, from `results/paper/transfer.csv`.

    Raises:
        SparsebenchError: the table is missing or damaged.
    """
    table = files("sparsebench.results") / "paper" / "transfer.csv"
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        dense = {
            (row["arch"], row["transfer"], row["task"]): float(row["mean"])
            for row in rows
            if row["method"] == DENSE
        }
        return [_cell(row, dense[row["arch"], row["transfer"], row["task"]]) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise SparsebenchError(
            f"The paper's table {table} cannot be read: {error}.", "Install the suite again."
        ) from error


def _cell(row: dict[str, str], dense: float) -> Cell:
    return Cell(
        model=Model(row["arch"], row["method"], float(row["sparsity"])),
        transfer="linear" if row["transfer"] == "linear" else "full",
        task=row["task"],
        mean=float(row["mean"]),
        std=float(row["std"]) if row["std"] else None,
        trainings=int(row["trainings"]),
        dense=dense,
    )


def label_of(method: str) -> str:
    """A method as the paper writes it; others by their own name."""
    return LABELS.get(method, method)


def in_order(models: Iterable[Model]) -> list[Model]:
    """Without doubles, in the order of the paper's tables: by method, then by sparsity."""
    known = list(LABELS)

    def place(model: Model) -> tuple[str, int, str, float]:
        rank = known.index(model.method) if model.method in known else len(known)
        return model.arch, rank, model.method, model.sparsity

    return sorted(set(models), key=place)


def of(cells: Sequence[Cell], model: Model, transfer: Transfer) -> dict[str, Cell]:
    """Task -> cell of one network."""
    return {c.task: c for c in cells if c.model == model and c.transfer == transfer}
