"""Cells: backbone x engine x workload x task with all settings, and their identity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sparsebench.bench.plan.optional_engines import pairs as engine_pairs
from sparsebench.bench.plan.plan import EngineSettings, Plan
from sparsebench.bench.plan.workloads import workload_of
from sparsebench.bench.records import cell_id
from sparsebench.models.architectures import base_architecture
from sparsebench.models.cards import Card
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import is_onnx_name
from sparsebench.models.sources.own_file import leaves_partner_open
from sparsebench.models.zoo import find_card

USUAL = "fp32"


@dataclass(frozen=True)
class Cell:
    """One thing to measure. ``id`` is derived from all other fields but ``dense``.

    Attributes:
        id: stable short identity.
        backbone: full backbone name.
        dense: name of the dense baseline; equals ``backbone`` for a dense backbone.
        engine: engine name.
        workload: workload name.
        task: task name or path as the plan gives it.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        threads: CPU threads, resolved.
        batch_size: images per engine call.
        size: side of the input in pixels, resolved.
        settings: engine settings.
        card: of the backbone, looked up once.
    """

    id: str
    backbone: str
    dense: str
    engine: str
    workload: str
    task: str
    device: str
    precision: str
    threads: int
    batch_size: int
    size: int
    settings: EngineSettings
    card: Card = field(repr=False, compare=False)

    @property
    def label(self) -> str:
        """A short name for progress lines."""
        return f"{self.workload} · {self.backbone} on {self.engine_label}"

    @property
    def engine_label(self) -> str:
        """The engine's name, with a precision that is not the usual one."""
        return self.engine if self.precision == USUAL else f"{self.engine} {self.precision}"

    @property
    def worker(self) -> tuple[str | int, ...]:
        """What cells share that one engine's process of a block can serve."""
        settings = (self.precision, self.threads, self.batch_size, self.size)
        return self.backbone, self.engine, *settings


def expand(plan: Plan) -> list[Cell]:
    """All cells of a plan, dense baselines first, in the plan's order.

    Raises:
        UnknownNameError: a backbone that does not exist.
    """
    pairs = _pairs(plan)
    cells = [
        _cell(single, task, workload, card, dense, engine, precision)
        for task in plan.tasks
        for single in plan.singles()
        for card, dense in pairs
        for workload in plan.workloads
        for engine, wanted in (
            *engines_for(workload, plan),
            *(dense_rivals(workload, plan) if card.name == dense.name else ()),
        )
        for precision in _precisions(card, pairs, workload, wanted)
    ]
    return list({cell.id: cell for cell in cells}.values())


def _precisions(
    card: Card, pairs: list[tuple[Card, Card]], workload: str, wanted: str
) -> list[str]:
    """A backbone's precisions on an engine: its file's own, where that has one, or the plan's.

    The dense baseline of an INT8 file is measured in INT8 too (quantized here where its own file
    is in float): what sparsity gives and what the precision gives are then separate.
    """
    if card.precision != USUAL:
        return [card.precision]
    files = {sparse.precision for sparse, dense in pairs if dense.name == card.name}
    extracts = workload_of(workload).engines is None
    return list(dict.fromkeys([wanted, *(files - {USUAL} if extracts else ())]))


def dense_rivals(workload: str, plan: Plan) -> list[tuple[str, str]]:
    """Engines, with precision, on which only dense baselines are measured."""
    if workload_of(workload).engines is not None:
        return []  # it trains: its rivals are among its own engines
    return engine_pairs(plan.dense_engines, plan)


def engines_for(workload: str, plan: Plan) -> tuple[tuple[str, str], ...]:
    """The plan's engines, with precision, that can do a workload: not every engine can train.

    Raises:
        SparsebenchError: none of them can.
    """
    able = workload_of(workload).engines
    entries = plan.engines_of(workload)
    named = engine_pairs(entries, plan, trains=able is not None)
    chosen = dict.fromkeys(pair for pair in named if able is None or pair[0] in able)
    if not chosen:
        raise SparsebenchError(
            f"None of the plan's engines ({', '.join(entries)}) can do '{workload}'.",
            f"Add --engine {able[0] if able else 'torch'}.",
        )
    return tuple(chosen)


def with_partners(plan: Plan) -> dict[str, str]:
    """Backbone name -> its dense baseline's name; baselines not in the plan are added."""
    return {card.name: dense.name for card, dense in _pairs(plan)}


def _pairs(plan: Plan) -> list[tuple[Card, Card]]:
    """Cards of backbones and of their dense baselines, dense ones first; each looked up once."""
    cards: dict[str, Card] = {}

    def look_up(name: str) -> Card:
        if name not in cards:
            cards[name] = find_card(name)
        return cards[name]

    chosen: dict[str, tuple[Card, Card]] = {}
    for name in plan.backbones:
        card = look_up(name)
        partner = plan.dense.get(name, card.dense_partner)
        if card.family != "dense" and name not in plan.dense and leaves_partner_open(name):
            raise SparsebenchError(
                f"'{name}' does not say which dense network it is compared with.",
                f"Name it: --dense dense.pth; --dense auto takes '{card.dense_partner}'.",
            )
        if card.refused:
            partner = partner or name  # its cells fail with the reason, the others go on
        elif is_onnx_name(name) or is_onnx_name(partner):
            _refuse_onnx_pair(card, partner, plan)
        if card.family == "dense":
            chosen[card.name] = (card, card)
            continue
        dense = look_up(partner)
        _refuse_sparse_baseline(card, dense)
        _refuse_other_architecture(card, dense)
        chosen.setdefault(dense.name, (dense, dense))
        chosen[card.name] = (card, dense)
    return sorted(chosen.values(), key=lambda pair: pair[0].name != pair[1].name)


def _refuse_onnx_pair(card: Card, partner: str, plan: Plan) -> None:
    """Say at once what a graph without a name leaves open, before anything is measured.

    Raises:
        SparsebenchError: no dense baseline is known, or none can be.
    """
    if card.family == "dense":
        if plan.dense.get(card.name, card.name) != card.name:
            raise SparsebenchError(
                f"'{card.name}' holds hardly any zeros: it counts as dense, and has no baseline.",
                "Leave its --dense out; or name its method in a card file beside it.",
            )
        return
    if not partner:
        raise SparsebenchError(
            f"'{card.name}' does not say which dense network it is compared with.",
            f"Name it: --dense {card.name}=dense.onnx.",
        )


def _refuse_sparse_baseline(card: Card, dense: Card) -> None:
    """Stop before a sparse network is measured, and called dense in every table.

    Raises:
        SparsebenchError: the baseline is a sparse network.
    """
    if dense.family == "dense" or card.refused or dense.refused:  # a refused one fails its cells
        return
    described = "; or call it dense in a card file beside it" if is_onnx_name(dense.name) else ""
    raise SparsebenchError(
        f"'{dense.name}' cannot be the dense baseline of '{card.name}': {dense.sparsity:.1%} of "
        "its weights are zero.",
        f"Name another{described}.",
    )


def _refuse_other_architecture(card: Card, dense: Card) -> None:
    """Stop before hours are measured that could not be compared.

    Raises:
        SparsebenchError: the two do not say that they are of one architecture.
    """
    arch, other = base_architecture(card.arch), base_architecture(dense.arch)
    if arch != other and not (card.refused or dense.refused):
        raise SparsebenchError(
            f"'{card.name}' ({card.arch}) and its baseline '{dense.name}' ({dense.arch}) do not "
            "say that they are of one architecture.",
            "Name a baseline of the same; of ONNX files name both, or put a card beside each.",
        )


def swept(plan: Plan, cell: Cell) -> str:
    """Which values of the plan's lists a cell has: ``, batch size 16``; empty without lists."""
    # A precision is part of the engine's label.
    keys = [key for key in plan.sweep if key != "precision"]
    return "".join(f", {key.replace('_', ' ')} {getattr(cell, key)}" for key in keys)


def launches(cells: list[Cell], most: Callable[[Cell], int]) -> Iterator[list[Cell]]:
    """Cells that are launched together in each block.

    Cells of one task, architecture, batch size and number of threads belong together, because
    every ratio is taken between them; where that needs more workers than there may be at once,
    one engine at a time.

    Args:
        cells: of a plan.
        most: workers like that of a cell that may be there at once.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        settings = (cell.size, cell.batch_size, cell.threads, cell.device)
        key = (cell.task, cell.card.arch, *settings)
        groups.setdefault(key, []).append(cell)
    for group in groups.values():
        if len({cell.worker for cell in group}) <= most(group[0]):
            yield group
            continue
        for engine in dict.fromkeys(cell.engine_label for cell in group):
            yield [cell for cell in group if cell.engine_label == engine]


def _cell(
    plan: Plan, task: str, workload: str, card: Card, dense: Card, engine: str, precision: str
) -> Cell:
    settings = plan.engine_settings.get(engine, EngineSettings())
    # Both sides of a comparison see images of one size: the dense baseline's.
    sized = card if dense.refused else dense
    size = plan.size or sized.preprocessing.size
    values: dict[str, Any] = {
        "backbone": card.name,
        "engine": engine,
        "workload": workload,
        "task": task,
        "device": plan.device,
        "precision": precision,
        "threads": plan.threads or usable_cpus(),
        "batch_size": plan.batch_size,
        "size": size,
    }
    identity: dict[str, Any] = {
        **values,
        "options": settings.options,
        "limit": plan.limit,
        "metric": plan.metric,
        **workload_of(workload).identity(plan),
    }
    return Cell(id=cell_id(identity), dense=dense.name, settings=settings, card=card, **values)
