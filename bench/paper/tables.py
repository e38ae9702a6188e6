"""The tables of `sparsebench reproduce` as text in cells, whatever they are printed on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sparsebench.bench.paper.measures import Benefit, Correlation, ErrorIncrease
from sparsebench.bench.paper.reproduction import NOT_PUBLISHED, SOURCE, ErrorRow, Reproduction
from sparsebench.bench.paper.transfer_cells import TRANSFERS, Cell, in_order, label_of, of
from sparsebench.bench.present import escape
from sparsebench.bench.present.table import DASH, Table, markdown
from sparsebench.bench.present.tables.numbers import MINUS, PLUS_MINUS
from sparsebench.bench.statistics import Interval
from sparsebench.models.names import format_percent

ABBREVIATED = {
    "aircraft": "airc", "birdsnap": "bird", "caltech101": "c101", "caltech256": "c256",
    "cars": "cars", "cifar10": "cf10", "cifar100": "c100", "dtd": "dtd", "flowers102": "flow",
    "food101": "food", "pets": "pets", "sun397": "sun",
}  # fmt: skip
ARTEFACTS = (
    "RigL on sun397 is worse after full than after linear fine-tuning for all six checkpoints: an "
    "artefact of that training, not a finding.",
    "LTH-T is the dense network times a mask, not retrained: its linear accuracies collapse by "
    "construction.",
)


def tables(found: Reproduction, *, wide: bool = True) -> list[Table]:
    """All tables, those with something of ours first; without `wide` those for 80 columns."""
    errors = list(_error_tables(found))
    ours = [table for beside, table in errors if beside]
    alone = [table for beside, table in errors if not beside]
    rest = [*_difficulty_tables(found), *(_accuracy_tables(found) if wide else ())]
    return [*ours, *_task_tables(found), *alone, *rest]


def markdown_page(found: Reproduction) -> str:
    """The sentences, then all tables."""
    lines = ["# Sparse transfer: the paper and ours", ""]
    lines += [f"- {escape.markdown(sentence)}" for sentence in sentences(found)]
    for table in tables(found):
        lines += markdown(table)
    return "\n".join(lines) + "\n"


def sentences(found: Reproduction) -> list[str]:
    """What the tables do not say: rankings, artefacts, what is missing."""
    lines = []
    for (arch, transfer), one in found.agreements.items():
        lines.append(
            f"Ranking of {one.count} {arch} networks, {transfer}, ours against the paper's: "
            f"Kendall tau {_signed(one.tau, 2)} (p = {one.p:.2g})."
        )
    if found.ours and not found.agreements:
        lines.append(
            "Ranking agreement with the paper (Kendall) needs three networks of one architecture "
            "on the same tasks on both sides; the runs have fewer."
        )
    for arch, one in found.within_paper.items():
        lines.append(
            f"The paper's own {arch} rankings, linear against full: Kendall tau "
            f"{_signed(one.tau, 2)} (p = {one.p:.2g}, {one.count} networks)."
        )
    if not found.ours:
        lines.append("No run is named or holds a trained cell: the paper's columns stand alone.")
    elif not found.shared:
        lines.append(
            f"None of our {len(found.ours)} cells is one of the paper's (its networks on its "
            "twelve tasks, whole): its columns stand alone. `sparsebench list paper` shows its "
            "checkpoints."
        )
    if found.left_out:
        lines.append(f"Left out: {', '.join(found.left_out)}.")
    return [*lines, *NOT_PUBLISHED, *ARTEFACTS, f"The paper: {SOURCE}."]


def _error_tables(found: Reproduction) -> Iterator[tuple[bool, Table]]:
    """Whether something of ours stands in it, and the table."""
    for arch in found.archs:
        rows = [row for row in found.errors if row.model.arch == arch]
        if rows and not any(row.ours for row in rows):
            yield False, _paper_alone(arch, rows)
            continue
        for transfer in TRANSFERS:
            mine = [row for row in rows if row.transfer == transfer]
            if mine:
                yield True, _beside(f"{arch}, {transfer}: mean relative error increase, %", mine)


def _paper_alone(arch: str, rows: Sequence[ErrorRow]) -> Table:
    values = {(row.model, row.transfer): row.paper for row in rows}
    return Table.of(
        f"{arch}: mean relative error increase of the paper, %",
        ("method", "sparsity", *TRANSFERS),
        tuple(
            (
                label_of(model.method),
                f"{format_percent(model.sparsity)}%",
                *(_increase(values.get((model, transfer))) for transfer in TRANSFERS),
            )
            for model in dict.fromkeys(row.model for row in rows)
        ),
        "Mean over 12 tasks, 95% interval over tasks. Negative: fewer errors than dense.",
        words=2,
    )


def _beside(title: str, rows: Sequence[ErrorRow]) -> Table:
    return Table.of(
        title,
        ("network", "paper", "ours", "same tasks", "difference", "tasks"),
        tuple(
            (
                row.model.label,
                _increase(row.paper),
                _increase(row.ours),
                DASH if row.shared_paper is None else _signed(row.shared_paper.value.mid),
                DASH if row.difference is None else _spread(row.difference),
                _counts(row),
            )
            for row in rows
        ),
        "95% intervals over tasks. Same tasks: the paper over those of its tasks that ours has; "
        "difference: ours minus the paper's over them. Tasks: how many those are, of how many of "
        f"ours. {DASH}: not measured, or not in the paper.",
    )


def _counts(row: ErrorRow) -> str:
    if row.ours is None:
        return ""
    shared = 0 if row.shared_ours is None else len(row.shared_ours.tasks)
    return f"{shared}/{len(row.ours.tasks)}"


def _task_tables(found: Reproduction) -> Iterator[Table]:
    for arch in found.archs:
        for transfer in TRANSFERS:
            rows = [
                row
                for row in found.tasks
                if row.ours.model.arch == arch and row.ours.transfer == transfer
            ]
            if rows:
                yield Table.of(
                    f"{arch}: accuracy by task, {transfer}, %",
                    ("task", "network", "ours", "paper", "difference"),
                    tuple(
                        (
                            row.ours.task,
                            row.ours.model.label,
                            _accuracy(row.ours),
                            _accuracy(row.paper),
                            DASH if row.difference is None else _spread(row.difference),
                        )
                        for row in rows
                    ),
                    f"{PLUS_MINUS}: standard deviation over seeds; of the difference, half of the "
                    "95% interval (Welch).",
                    words=2,
                )


def _difficulty_tables(found: Reproduction) -> Iterator[Table]:
    for whose, benefits in (("the paper", found.benefits), ("our runs", found.our_benefits)):
        for arch in found.archs:
            rows = [one for one in benefits if one.model.arch == arch and one.of_change]
            if rows:
                yield _difficulty_table(f"{arch}: benefit and difficulty in {whose}", rows)


def _difficulty_table(title: str, rows: Sequence[Benefit]) -> Table:
    return Table.of(
        title,
        ("method", "sparsity", "r of the change in points", "r of the relative error"),
        tuple(
            (
                label_of(one.model.method),
                f"{format_percent(one.model.sparsity)}%",
                _correlation(one.of_change),
                _correlation(one.of_error),
            )
            for one in rows
        ),
        "Pearson correlation with the difficulty (dense full minus dense linear accuracy), 95% "
        f"interval, over {len(rows[0].gaps)} tasks; linear fine-tuning. Positive r of the change: "
        "the harder the task, the more a network gains on dense.",
        words=2,
    )


def _accuracy_tables(found: Reproduction) -> Iterator[Table]:
    archs = dict.fromkeys(cell.model.arch for cell in found.paper)
    for arch in archs:
        for transfer in TRANSFERS:
            models = in_order(c.model for c in found.paper if c.model.arch == arch)
            rows = []
            for model in models:
                by_task = of(found.paper, model, transfer)
                values = [f"{by_task[t].mean:.1f}" if t in by_task else "" for t in ABBREVIATED]
                rows.append((model.label, *values))
            yield Table.of(
                f"{arch}: accuracies of the paper, {transfer}, %",
                ("network", *ABBREVIATED.values()),
                tuple(rows),
                ", ".join(f"{short}: {task}" for task, short in ABBREVIATED.items()),
            )


def _increase(found: ErrorIncrease | None) -> str:
    return DASH if found is None else _spread(found.value)


def _spread(value: Interval) -> str:
    if value.ci95 is None:
        return _signed(value.mid)
    return f"{_signed(value.mid)} {PLUS_MINUS}{value.high - value.mid:.1f}"


def _accuracy(cell: Cell | None) -> str:
    if cell is None:
        return DASH
    spread = "" if cell.std is None else f" {PLUS_MINUS}{cell.std:.1f}"
    return f"{cell.mean:.1f}{spread}"


def _correlation(found: Correlation | None) -> str:
    if found is None:
        return DASH
    return f"{_signed(found.r, 2)} ({_signed(found.low, 2)} to {_signed(found.high, 2)})"


def _signed(value: float, digits: int = 1) -> str:
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = text[1:]
    return text.replace("-", MINUS)
