"""Plans: the set of cells of a run, as a named preset or a TOML file.

This module is imported by the command line at start: standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sparsebench.bench.plan.plan_input import (
    check_input,
    check_ranges,
    is_file,
    read_plan_file,
)
from sparsebench.models.errors import SparsebenchError, UnknownNameError

PRESETS = Path(__file__).parents[1] / "presets"
PRECISIONS = ("fp32", "bf16", "int8")
DEVICES = ("cpu", "cuda")
SOLVERS = ("sgd", "lbfgs")
RECIPES = ("paper", "short")
TUNING = ("on", "off")
INF = float("inf")
OPTIONAL = (
    "?"  # behind an engine: only where the machine has it (sparsebench.bench.plan.optional_engines)
)
# The paper's seeds for linear fine-tuning.
SEEDS = (21, 51, 81, 111, 141)


@dataclass(frozen=True)
class EngineSettings:
    """Settings of one engine in a plan (``[engines.NAME]`` in TOML).

    Attributes:
        python: interpreter that has the engine's library, or None for the usual one.
        options: passed to the engine as they are, and recorded.
    """

    python: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a run measures. Every field is a key of a TOML plan.

    Attributes:
        name: preset name or file stem.
        description: one line for ``list plans``.
        backbones: backbone names; dense partners are added by themselves.
        engines: engine names; ``torch:bf16`` gives one a precision of its own, so that a run can
            hold several; ``torch:bf16?`` only where the processor has instructions for it.
        workload_engines: workload -> engines that take the place of ``engines`` there.
        workloads: workload names.
        tasks: task names or paths of ImageFolder directories or tars.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        threads: CPU threads of everything; 0 stands for all CPUs this process may use.
        batch_size: pictures per engine call, and per step of ``full`` and ``linear-online``
            (the paper's: 64).
        size: side of the square input in pixels; 0 stands for each backbone's own.
        repeats: blocks; with ``half_width``, the least number of them.
        half_width: end a cell when the 95 % interval of its speed-up is within ± this (0.03:
            3 %); 0 measures ``repeats`` blocks.
        max_repeats: most blocks with ``half_width``; 0 for 30.
        budget_seconds: with ``half_width``, time for each comparison; 0 without a limit.
        discards: blocks of a group that the drift rule may throw away and repeat.
        seeds: seeds of the trained heads.
        order_seed: seed of the order of cells inside blocks.
        data_dir: where downloadable data sets lie or go.
        limit: at most so many pictures of a task (0 for all), stratified.
        metric: ``top1`` or ``mean_per_class``; empty for each task's own.
        strict: a picture that cannot be decoded fails the task instead of being skipped.
        solver: ``sgd`` (the paper's recipe) or ``lbfgs``.
        epochs: epochs of the head under ``sgd`` in ``inference`` and ``linear-cached``.
        recipe: ``paper`` or ``short``: how ``linear-online`` and ``full`` train.
        train_epochs: their epochs; 0 stands for the recipe's own (paper 150, short 5).
        lr: their largest learning rate; 0 stands for the recipe's own.
        validation: share of the training pictures (0 to below 1) that ``linear-online`` and
            ``full`` hold out to choose the best epoch and the target.
        target_margin: points below the dense partner's validation accuracy that count as target.
        tune: ``on`` tries out how ``full`` runs fastest here; ``off`` runs it the plain way.
        weight_decays: strengths of regularization that ``linear-cached`` tries out, all at once,
            on a validation split of the training pictures; the best one trains the heads.
            Empty for the paper's 0.0005.
        prepared: ``linear-cached`` starts from pictures that an earlier run decoded and resized;
            the first run makes them outside the clock.
        deterministic: only kernels that give the same bits every time, in ``full``; with ``tune``
            their cost is measured too.
        dense: sparse backbone name -> name of its dense partner, where not the usual one.
        engine_settings: per-engine settings.
        min_seconds: least time per visit of a cell in ``inference``.
        call_timeout: seconds after which an engine that does not answer counts as hung.
    """

    name: str = "custom"
    description: str = ""
    backbones: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("deepsparse", "onnxruntime", "torch")
    workload_engines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    workloads: tuple[str, ...] = ("inference", "linear-cached")
    tasks: tuple[str, ...] = ("digits",)
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 0
    batch_size: int = 64
    size: int = 0
    repeats: int = 5
    half_width: float = 0.0
    max_repeats: int = 0
    budget_seconds: float = 0.0
    discards: int = 1
    seeds: tuple[int, ...] = SEEDS
    order_seed: int = 0
    data_dir: str = ""
    limit: int = 0
    metric: str = ""
    strict: bool = False
    solver: str = "sgd"
    epochs: int = 150
    recipe: str = "paper"
    train_epochs: int = 0
    lr: float = 0.0
    validation: float = 0.1
    target_margin: float = 1.0
    tune: str = "on"
    deterministic: bool = False
    weight_decays: tuple[float, ...] = ()
    prepared: bool = False
    dense: dict[str, str] = field(default_factory=dict)
    engine_settings: dict[str, EngineSettings] = field(default_factory=dict)
    min_seconds: float = 0.2
    call_timeout: float = 600.0

    def with_changes(self, **changes: Any) -> Plan:
        """A validated copy; keys whose value is None or empty stay as they are."""
        given = {key: value for key, value in changes.items() if value not in (None, (), [], "")}
        return validate(replace(self, **given))


def preset_names() -> list[str]:
    """Names of the presets that ship with the suite."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_plan(name_or_path: str) -> Plan:
    """The plan behind a preset's name or a TOML file's path.

    Raises:
        SparsebenchError: no such preset or file, not TOML, an unknown key or a bad value.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or is_file(name_or_path):
        if not is_file(name_or_path):
            raise SparsebenchError(f"There is no plan file {path}.")
    elif name_or_path in preset_names():
        path = PRESETS / f"{name_or_path}.toml"
    else:
        raise UnknownNameError("plan", name_or_path, preset_names())
    return plan_from_dict({"name": path.stem, **read_plan_file(path)}, str(path))


def plan_from_dict(data: Mapping[str, Any], where: str) -> Plan:
    """A validated plan from TOML data; ``where`` names the file in messages."""
    data = dict(data)
    known = [f.name for f in fields(Plan)]
    # `engines` is a list of names, or a table whose keys are names and values settings.
    engines = data.get("engines")
    if isinstance(engines, Mapping):
        data["engines"] = list(engines)
        data["engine_settings"] = engines
    for key in data:
        if key not in known:
            raise UnknownNameError(f"key of a plan ({where})", key, known)
    data["workload_engines"] = _engines_by_workload(data.get("workload_engines", {}), where)
    check_input(data, where)
    settings = {}
    for name, table in dict(data.pop("engine_settings", {})).items():
        for key in table:
            if key not in ("python", "options"):
                raise UnknownNameError(f"setting of engine {name}", key, ["python", "options"])
        settings[name] = EngineSettings(**table)
    for key, value in data.items():
        wanted = getattr(_DEFAULT, key)
        if isinstance(wanted, tuple):
            if isinstance(value, str) or not isinstance(value, list | tuple):
                raise SparsebenchError(f"{where}: '{key}' must be a list, not {value!r}.")
            data[key] = tuple(value)
        elif isinstance(wanted, bool) != isinstance(value, bool) or not isinstance(
            value, (int, float) if isinstance(wanted, float) else type(wanted)
        ):
            raise SparsebenchError(
                f"{where}: '{key}' must be a {type(wanted).__name__}, not {value!r}."
            )
    return validate(Plan(**data, engine_settings=settings))


def _engines_by_workload(given: Any, where: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping) or not all(
        isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names)
        for names in given.values()
    ):
        raise SparsebenchError(
            f"{where}: 'workload_engines' must be a table of workloads with a list of engines "
            f"each, not {given!r}.",
            'Write, for example, [workload_engines] and below it full = ["torch", "native"].',
        )
    return {workload: tuple(names) for workload, names in given.items()}


def validate(plan: Plan) -> Plan:
    """Check every value that can be checked without loading anything.

    Raises:
        SparsebenchError: a value out of range, or more threads than CPUs.
    """
    check_ranges(plan)
    if not 0 <= plan.half_width < 1:
        raise SparsebenchError(
            f"'half_width' is a share like 0.03, not {plan.half_width}.", "0 switches it off."
        )
    for kind, chosen, choices in (
        ("device", plan.device, DEVICES),
        ("precision", plan.precision, PRECISIONS),
        ("solver", plan.solver, SOLVERS),
        ("recipe", plan.recipe, RECIPES),
        ("tune", plan.tune, TUNING),
        ("metric", plan.metric or "top1", ("top1", "mean_per_class")),
    ):
        if chosen not in choices:
            raise UnknownNameError(kind, chosen, choices)
    if not plan.seeds or len(set(plan.seeds)) != len(plan.seeds):
        raise SparsebenchError(f"'seeds' must be different numbers, not {list(plan.seeds)}.")
    for value in plan.weight_decays:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < INF:
            raise SparsebenchError(f"'weight_decays' must be numbers from 0, not {value!r}.")
    if not 0 <= plan.validation < 1:
        raise SparsebenchError(f"'validation' must be from 0 to below 1, not {plan.validation}.")
    if plan.threads > usable_cpus():
        raise SparsebenchError(
            f"{plan.threads} threads on {usable_cpus()} usable CPUs would time the scheduler.",
            f"Take --threads {usable_cpus()} or fewer.",
        )
    return plan


def engine_and_precision(entry: str, plan: Plan) -> tuple[str, str]:
    """What an entry of ``engines`` names: ``torch:bf16?`` or, in the plan's precision, ``torch``.

    Raises:
        UnknownNameError: a precision that does not exist.
    """
    name, colon, precision = entry.rstrip(OPTIONAL).partition(":")
    if not colon:
        return name, plan.precision
    if precision not in PRECISIONS:
        raise UnknownNameError(f"precision of engine {name}", precision, PRECISIONS)
    return name, precision


def usable_cpus() -> int:
    """CPUs that this process may use (affinity respected)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def plan_to_toml(plan: Plan) -> str:
    """The resolved plan as TOML that :func:`load_plan` reads back."""
    import tomli_w

    data = asdict(plan)
    data["engine_settings"] = {
        name: {key: value for key, value in table.items() if value}
        for name, table in data["engine_settings"].items()
    }
    comment = "# The resolved plan of a run: `sparsebench run plan.toml` repeats it.\n"
    return comment + tomli_w.dumps({key: value for key, value in data.items() if value != {}})


_DEFAULT = Plan()
