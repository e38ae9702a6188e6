"""Cells: backbone x engine x workload x task with all settings, and their identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.plan.optional_engines import present
from sparsebench.bench.plan.plan import EngineSettings, Plan, engine_and_precision, usable_cpus
from sparsebench.bench.records import cell_id
from sparsebench.bench.workloads import WORKLOADS
from sparsebench.models.cards import Card
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import is_onnx_name
from sparsebench.models.zoo import find_card

# Over so many blocks a workload deals its seeds: each block has other ones.
_DEALT = "repeats"
USUAL = "fp32"
# The settings besides those of a cell that change what a workload computes.
_HEAD = ("seeds", "solver", "epochs")
_TRAINING = ("seeds", "recipe", "train_epochs", "lr", "validation", _DEALT)
_WORKLOAD_SETTINGS = {
    "inference": ("min_seconds", *_HEAD),
    "linear-online": _TRAINING,
    "full": (*_TRAINING, "tune", "deterministic"),
}


@dataclass(frozen=True)
class Cell:
    """One thing to measure. ``id`` is derived from all other fields but ``dense``.

    Attributes:
        id: stable short identity.
        backbone: full backbone name.
        dense: name of the dense partner; equals ``backbone`` for a dense backbone.
        engine: engine name.
        workload: workload name.
        task: task name or path as the plan gives it.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        threads: CPU threads, resolved.
        batch_size: pictures per engine call.
        size: side of the input in pixels, resolved.
        settings: engine settings.
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

    @property
    def label(self) -> str:
        """A short name for progress lines."""
        return f"{self.workload} · {self.backbone} on {self.engine_label}"

    @property
    def engine_label(self) -> str:
        """The engine's name, with a precision that is not the usual one."""
        return self.engine if self.precision == USUAL else f"{self.engine} {self.precision}"

    @property
    def worker(self) -> tuple[str, str, str]:
        """What cells share that one engine's process of a block can serve."""
        return self.backbone, self.engine, self.precision


def expand(plan: Plan) -> list[Cell]:
    """All cells of a plan, dense partners first, in the plan's order.

    Raises:
        UnknownNameError: a backbone that does not exist.
    """
    backbones = with_partners(plan)
    cells = [
        _cell(plan, task, workload, name, partner, engine, precision)
        for task in plan.tasks
        for name, partner in backbones.items()
        for workload in plan.workloads
        for engine, wanted in engines_for(workload, plan)
        for precision in _precisions(name, backbones, workload, wanted)
    ]
    return list({cell.id: cell for cell in cells}.values())


def _precisions(name: str, backbones: dict[str, str], workload: str, wanted: str) -> list[str]:
    """A backbone's precisions on an engine: its file's own, where that has one, or the plan's.

    The dense partner of an INT8 file is measured in INT8 too (quantized here where its own file
    is in float): what sparsity gives and what the precision gives are then told apart.
    """
    own = find_card(name).precision
    if own != USUAL:
        return [own]
    files = {find_card(sparse).precision for sparse, dense in backbones.items() if dense == name}
    extracts = WORKLOADS.load(workload).engines is None
    return list(dict.fromkeys([wanted, *(files - {USUAL} if extracts else ())]))


def engines_for(workload: str, plan: Plan) -> tuple[tuple[str, str], ...]:
    """The plan's engines, with precision, that can do a workload: not every engine can train.

    Raises:
        SparsebenchError: none of them can.
    """
    able = WORKLOADS.load(workload).engines
    entries = plan.workload_engines.get(workload, plan.engines)
    named = [engine_and_precision(entry, plan) for entry in present(entries, plan)]
    chosen = dict.fromkeys(pair for pair in named if able is None or pair[0] in able)
    if not chosen:
        raise SparsebenchError(
            f"None of the plan's engines ({', '.join(entries)}) can do '{workload}'.",
            f"Add --engine {able[0]}.",
        )
    return tuple(chosen)


def with_partners(plan: Plan) -> dict[str, str]:
    """Backbone name -> its dense partner's name; partners not in the plan are added."""
    chosen: dict[str, str] = {}
    for name in plan.backbones:
        card = find_card(name)
        partner = plan.dense.get(name, card.dense_partner)
        if is_onnx_name(name) or is_onnx_name(partner):
            _refuse_onnx_pair(card, partner, plan)
        if card.family == "dense":
            partner = card.name
        elif partner not in chosen:
            dense = find_card(partner)
            chosen[dense.name] = dense.name
            partner = dense.name
        chosen[card.name] = partner
    dense_first = sorted(chosen, key=lambda name: chosen[name] != name)
    return {name: chosen[name] for name in dense_first}


def _refuse_onnx_pair(card: Card, partner: str, plan: Plan) -> None:
    """Say at once what a graph without a name leaves open, before anything is measured.

    Raises:
        SparsebenchError: no dense partner is known, or what is named cannot be one.
    """
    if card.family == "dense":
        if plan.dense.get(card.name, card.name) != card.name:
            raise SparsebenchError(
                f"'{card.name}' holds hardly any zeros: it counts as dense, and has no partner.",
                "Leave its --dense out; or name its method in a card file beside it.",
            )
        return
    if not partner:
        raise SparsebenchError(
            f"'{card.name}' does not say which dense network it is to be held against.",
            f"Name it: --dense {card.name}=dense.onnx.",
        )
    dense = find_card(partner)
    if dense.method != "dense":
        raise SparsebenchError(
            f"'{partner}' cannot be the dense partner of '{card.name}': {dense.sparsity:.1%} of "
            "its weights are zero.",
            "Name another; or call it dense in a card file beside it.",
        )
    if dense.arch != card.arch:
        raise SparsebenchError(
            f"'{card.name}' ({card.arch}) and its partner '{partner}' ({dense.arch}) do not say "
            "that they are of one architecture.",
            "Name both by ONNX files, or put a card file beside each that has none.",
        )


def dealt_over(plan: Plan) -> int:
    """Blocks among which the seeds are dealt; further blocks begin anew with the first seed."""
    return min(plan.repeats, len(plan.seeds))


def deals_seeds(workload: str) -> bool:
    """Whether a workload trains other seeds in every block, so that its trials depend on both."""
    return _DEALT in _WORKLOAD_SETTINGS.get(workload, _HEAD)


def launches(cells: list[Cell], most: int) -> Iterator[list[Cell]]:
    """Cells that are launched together in each block.

    Cells of one task and architecture belong together, because every ratio is taken
    between them; where that needs more than ``most`` workers, one engine at a time.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        key = (cell.task, find_card(cell.backbone).arch, cell.size, cell.device)
        groups.setdefault(key, []).append(cell)
    for group in groups.values():
        if len({cell.worker for cell in group}) <= most:
            yield group
            continue
        for engine in dict.fromkeys(cell.engine_label for cell in group):
            yield [cell for cell in group if cell.engine_label == engine]


def _cell(
    plan: Plan, task: str, workload: str, name: str, partner: str, engine: str, precision: str
) -> Cell:
    settings = plan.engine_settings.get(engine, EngineSettings())
    # Both sides of a comparison see pictures of one size: the dense partner's.
    size = plan.size or find_card(partner).preprocessing.size
    values: dict[str, Any] = {
        "backbone": name,
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
    }
    if plan.prepared and workload == "linear-cached":  # no part of older identities
        identity["prepared"] = True
    if plan.weight_decays and workload in ("inference", "linear-cached"):
        identity["weight_decays"] = [*plan.weight_decays, plan.validation]
    for key in _WORKLOAD_SETTINGS.get(workload, _HEAD):
        value = dealt_over(plan) if key == _DEALT else getattr(plan, key)
        identity[key] = list(value) if isinstance(value, tuple) else value
    return Cell(id=cell_id(identity), dense=partner, settings=settings, **values)
