"""Plans: the set of cells of a run, as a named preset or a TOML file.

This module is imported by the command line at start: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from sparsebench.bench.plan.entries import PRECISIONS, EngineEntry
from sparsebench.bench.plan.plan_input import check_input, check_ranges, is_file
from sparsebench.bench.plan.sections import NO_KEYS, changed, engines_by_workload, known_keys
from sparsebench.bench.plan.settings import Settings
from sparsebench.bench.plan.workloads import USUAL, WORKLOADS, workload_of
from sparsebench.bench.tasks.kinds import METRICS
from sparsebench.models.cpus import usable_cpus
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.toml_file import read_toml

PRESETS = Path(__file__).parents[1] / "presets"
DEVICES = ("cpu", "cuda")
MOST_CELLS = 100_000
S = TypeVar("S", bound=Settings)
SWEPT = ("batch_size", "threads", "size", "precision")
"""Keys that may be lists, whose values are measured one by one in the same run."""
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
    """What a run measures. Every field but the last two is a key of a TOML plan, and
    every workload a section. The keys of :data:`SWEPT` may be lists: all combinations are measured.

    Attributes:
        name: preset name or file stem.
        description: one line for ``list plans``.
        backbones: backbone names; dense baselines are added by themselves.
        engines: engine names; ``torch:bf16`` gives one a precision of its own, so that a run can
            hold several; ``torch:bf16?`` only where the processor has instructions for it.
        dense_engines: entries on which only the dense baselines are measured, in workloads that run
            on any engine: the rivals that an expert would pick, for "vs best dense engine".
        heat: seconds for a qualifying heat of those rivals: only the ones that come near the best
            are measured in full blocks; 0 measures all of them.
        workload_engines: workload -> engines that take the place of ``engines`` there.
        workloads: workload names.
        tasks: task names, or paths of folders or tars of images, with classes or with boxes.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        threads: CPU threads of everything; 0 stands for all CPUs this process may use.
        batch_size: images per engine call, and per step of ``full`` and ``linear-online``
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
        limit: at most so many images of a task (0 for all), stratified.
        task_gmacs: thousand millions of multiply-adds that one pass over a task's images may take
            of the largest dense network; a larger task gets a limit. 0 without.
        call_gmacs: the same of an engine call, by a smaller batch.
        metric: ``top1`` or ``mean_per_class``, of detection ``map50`` or ``map50_95``; empty for
            each task's own.
        strict: an image that cannot be read fails the task instead of being left out.
        own_head: the networks' own outputs are the task's classes in their order: what they get
            right stands beside a trained head's accuracy, also where no file tells so.
        allow_image_loss: measure even where a class loses most of its images.
        dense: sparse backbone name -> name of its dense baseline, where not the usual one.
        engine_settings: per-engine settings.
        sections: workload -> its own settings, where they are not the defaults; see
            :meth:`section`.
        call_timeout: seconds after which an engine that does not answer counts as hung.
        sweep: key of :data:`SWEPT` -> the values of its list, where it has one; the field itself
            then holds the first.
        flat: keys that were given as they were before plans had sections.
    """

    name: str = "custom"
    description: str = ""
    backbones: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("native", "onnxruntime")
    dense_engines: tuple[str, ...] = ()
    heat: float = 0.0
    workload_engines: dict[str, tuple[str, ...]] = field(default_factory=dict)
    workloads: tuple[str, ...] = USUAL
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
    task_gmacs: float = 0.0
    call_gmacs: float = 0.0
    metric: str = ""
    strict: bool = False
    own_head: bool = False
    allow_image_loss: bool = False
    dense: dict[str, str] = field(default_factory=dict)
    engine_settings: dict[str, EngineSettings] = field(default_factory=dict)
    sections: dict[str, Settings] = field(default_factory=dict)
    call_timeout: float = 600.0
    sweep: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    flat: tuple[str, ...] = field(default=(), compare=False)

    def section(self, workload: str, kind: type[S]) -> S:
        """The settings of a workload: its section, or its defaults.

        Args:
            workload: a registered name.
            kind: the class that they are, or derive from.
        """
        found = self.sections.get(workload) or workload_of(workload).settings()
        if not isinstance(found, kind):
            raise TypeError(f"the settings of {workload} are {type(found)}, not {kind}")
        return found

    def engines_of(self, workload: str) -> tuple[str, ...]:
        """The entries of engines that a workload is planned on."""
        return self.workload_engines.get(workload, self.engines)

    @property
    def engine_names(self) -> tuple[str, ...]:
        """All engines that it names, dense baselines' rivals among them, without precisions."""
        entries = [entry for name in self.workloads for entry in self.engines_of(name)]
        named = [EngineEntry.parse(entry).name for entry in (*entries, *self.dense_engines)]
        return tuple(dict.fromkeys(named))

    @property
    def dealt_over(self) -> int:
        """Blocks among which the seeds are dealt; further blocks begin again with the first."""
        return min(self.repeats, len(self.seeds))

    def singles(self) -> Iterator[Plan]:
        """A plan without lists for each combination of its threads, batch sizes and sizes.

        Precisions stay: which of them an engine has is for its entry to say.
        """
        lists = {key: values for key, values in self.sweep.items() if key != "precision"}
        kept = {key: values for key, values in self.sweep.items() if key == "precision"}
        for values in product(*lists.values()):
            yield replace(self, sweep=kept, **dict(zip(lists, values, strict=True)))

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of engines without one of their own."""
        return self.sweep.get("precision", (self.precision,))

    @property
    def task_options(self) -> dict[str, Any]:
        """How its tasks are opened, as :func:`sparsebench.bench.tasks.open_task` takes it."""
        return {
            "data_dir": self.data_dir or None,
            "strict": self.strict,
            "allow_image_loss": self.allow_image_loss,
            "limit": self.limit or None,
            "metric": self.metric or None,
        }

    def with_changes(self, **changes: Any) -> Plan:
        """A validated copy; keys whose value is None or empty stay as they are.

        ``sections`` gives workload -> key -> value; a key from before there were sections goes
        to all sections that have it. Naming engines names all of them: the plan's own dense rivals
        go, unless they are named too. A limit or batch size that is named stays as it is.

        Raises:
            SparsebenchError: a bad value, or dense rivals for workloads that have none.
        """
        given = {key: value for key, value in changes.items() if value not in (None, (), [], "")}
        if "engines" in given:
            given.setdefault("dense_engines", ())
        for named, rule in (("limit", "task_gmacs"), ("batch_size", "call_gmacs")):
            if named in given:
                given.setdefault(rule, 0.0)
        plan = changed(self, given, "the changes")
        trained = [name for name in plan.workloads if workload_of(name).engines is not None]
        if given.get("dense_engines") and trained == list(plan.workloads):
            raise SparsebenchError(
                f"Dense engines have no effect on {' and '.join(trained)}: both networks train on "
                "the same engines.",
                f"Name them among the engines (--engine {given['dense_engines'][0]}).",
            )
        return plan


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
    return plan_from_dict({"name": path.stem, **read_toml(path)}, str(path))


def plan_from_dict(data: Mapping[str, Any], where: str) -> Plan:
    """A validated plan from TOML data; ``where`` names the file in messages."""
    data = dict(data)
    # `engines` is a list of names, or a table whose keys are names and values settings.
    engines = data.get("engines")
    if isinstance(engines, Mapping):
        data["engines"] = list(engines)
        data["engine_settings"] = engines
    for key in NO_KEYS:
        if key in data:
            raise UnknownNameError(f"key of a plan ({where})", key, known_keys())
    check_input(data, where)
    data["workload_engines"] = engines_by_workload(data.get("workload_engines", {}), where)
    settings = {}
    for name, table in dict(data.pop("engine_settings", {})).items():
        for key in table:
            if key not in ("python", "options"):
                raise UnknownNameError(f"setting of engine {name}", key, ["python", "options"])
        settings[name] = EngineSettings(**table)
    tables = {key: data.pop(key) for key in list(data) if key in WORKLOADS}
    return changed(Plan(engine_settings=settings), {**data, "sections": tables}, where)


def validate(plan: Plan) -> Plan:
    """Check every value that can be checked without loading anything.

    Raises:
        SparsebenchError: a value out of range, more threads than CPUs, or more cells than anybody
            can measure.
    """
    lists = (plan.backbones, plan.workloads, plan.tasks, *plan.sweep.values())
    if (count := prod(map(len, lists))) > MOST_CELLS:
        raise SparsebenchError(
            f"The plan has {count:,} cells; a run has {MOST_CELLS:,} at most.",
            "Give shorter lists, or several plans.",
        )
    for single in plan.singles():
        check_ranges(single)
        if single.threads > usable_cpus():
            raise SparsebenchError(
                f"{single.threads} threads on {usable_cpus()} usable CPUs would time the "
                "scheduler.",
                f"Take --threads {usable_cpus()} or fewer.",
            )
    if not 0 <= plan.half_width < 1:
        raise SparsebenchError(
            f"'half_width' is a share like 0.03, not {plan.half_width}.", "0 switches it off."
        )
    for kind, chosen, choices in (
        ("device", plan.device, DEVICES),
        *(("precision", precision, PRECISIONS) for precision in plan.precisions),
        ("metric", plan.metric or METRICS[0], METRICS),
    ):
        if chosen not in choices:
            raise UnknownNameError(kind, chosen, choices)
    if not plan.seeds or len(set(plan.seeds)) != len(plan.seeds):
        raise SparsebenchError(f"'seeds' must be different numbers, not {list(plan.seeds)}.")
    for section in plan.sections.values():
        section.check()
    return plan


def plan_to_toml(plan: Plan) -> str:
    """The resolved plan as TOML that :func:`load_plan` reads back."""
    import tomli_w

    data = {key: value for key, value in asdict(plan).items() if key not in NO_KEYS}
    data |= {key: list(values) for key, values in plan.sweep.items()}
    data["engine_settings"] = {
        name: {key: value for key, value in table.items() if value}
        for name, table in data["engine_settings"].items()
    }
    tables: dict[str, Any] = {}
    for name in dict.fromkeys((*plan.workloads, *plan.sections)):
        tables[name] = asdict(plan.section(name, Settings))
    for name, entries in data.pop("workload_engines").items():
        tables.setdefault(name, {})["engines"] = entries
    comment = "# The resolved plan of a run: `sparsebench run plan.toml` repeats it.\n"
    whole = {**data, **tables}
    return comment + tomli_w.dumps({key: value for key, value in whole.items() if value != {}})
