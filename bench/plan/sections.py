"""Keys and sections of a plan, checked one by one: every mistake is one sentence.

Before plans had a section for each workload, its settings were keys of the plan itself. Those
keys still work: each goes to every section that has it (``Settings.flat``), and whoever reads the
plan is told once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from sparsebench.bench.plan.settings import Settings
from sparsebench.bench.plan.workloads import WORKLOADS, workload_of
from sparsebench.models.errors import SparsebenchError, UnknownNameError

if TYPE_CHECKING:
    from sparsebench.bench.plan.plan import Plan

NO_KEYS = ("sections", "sweep", "flat")
"""Fields of a plan that no file gives by their names."""
# Other packages' workloads are younger than sections, and are not imported to look.
_OURS = "sparsebench."
ENGINES = "engines"
"""In a section: the engines that the workload is planned on, instead of the plan's."""


def changed(plan: Plan, given: Mapping[str, Any], where: str) -> Plan:
    """A validated plan with some keys and sections set.

    Args:
        plan: with everything else.
        given: key -> value, from TOML or the command line; ``sections``: workload -> key -> value.
        where: what messages call the source.

    Raises:
        SparsebenchError: an unknown key or workload, or a value of another kind.
    """
    from sparsebench.bench.plan.plan import SWEPT, Plan, validate

    given = dict(given)
    tables: dict[str, dict[str, Any]] = {
        name: _table(name, table, where) for name, table in dict(given.pop("sections", {})).items()
    }
    values: dict[str, Any] = {}
    flat: dict[str, Any] = {}
    sweep = dict(plan.sweep)
    default = Plan()
    own = {f.name for f in fields(Plan)} - set(NO_KEYS)
    for key, value in given.items():
        if key in SWEPT:
            several = _several(f"{where}: '{key}'", value, getattr(default, key))
            values[key] = several[0]
            sweep.pop(key, None)
            if len(several) > 1:
                sweep[key] = several
        elif key in own:
            values[key] = typed(f"{where}: '{key}'", value, getattr(default, key))
        elif places(key):
            flat[key] = value
        else:
            raise UnknownNameError(f"key of a plan ({where})", key, known_keys())
    engines = {name: table.pop(ENGINES) for name, table in tables.items() if ENGINES in table}
    if engines:
        earlier = values.get("workload_engines", plan.workload_engines)
        values["workload_engines"] = {**earlier, **engines_by_workload(engines, where)}
    sections = dict(plan.sections)
    for key, value in flat.items():
        for workload, name in places(key):
            _set(sections, workload, {name: value}, f"{where}: '{key}'")
    for workload, table in tables.items():
        _set(sections, workload, table, f"{where}: [{workload}]")
    told = tuple(dict.fromkeys((*plan.flat, *flat)))
    return validate(replace(plan, **values, sections=sections, sweep=sweep, flat=told))


def known_keys() -> list[str]:
    """Keys and sections that a plan may have."""
    from sparsebench.bench.plan.plan import Plan

    own = [f.name for f in fields(Plan) if f.name not in NO_KEYS]
    ours = [name for name in WORKLOADS if WORKLOADS.target(name).startswith(_OURS)]
    flat = [key for name in ours for key in workload_of(name).settings.flat]
    return list(dict.fromkeys((*own, *WORKLOADS, *flat)))


def places(key: str) -> list[tuple[str, str]]:
    """Where a key from before there were sections belongs: (workload, key of its section)."""
    ours = [name for name in WORKLOADS if WORKLOADS.target(name).startswith(_OURS)]
    found = [(name, workload_of(name).settings.flat.get(key)) for name in ours]
    return [(name, new) for name, new in found if new is not None]


def notice(plan: Plan) -> str:
    """One sentence on the keys that were given outside of their sections; "" where none was."""
    if not plan.flat:
        return ""
    moved = "; ".join(
        f"{key} is {', '.join(f'{name}.{new}' for name, new in places(key))}" for key in plan.flat
    )
    return (
        "A plan has a section for each workload now, and --set WORKLOAD.KEY=VALUE its option. "
        f"What was given before still works: {moved}."
    )


def section_options(options: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``full.epochs=3`` of the command line as workload -> key -> value.

    Raises:
        SparsebenchError: not of this form.
    """
    found: dict[str, dict[str, Any]] = {}
    for option in options:
        place, equals, text = option.partition("=")
        workload, dot, key = place.strip().rpartition(".")
        if not equals or not dot or not workload or not key:
            raise SparsebenchError(
                f"'--set {option}' is not WORKLOAD.KEY=VALUE.", "Write, for example, full.epochs=3."
            )
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text.strip()  # a word needs no quotes on the command line
        found.setdefault(workload, {})[key] = value
    return found


def engines_by_workload(given: Any, where: str) -> dict[str, tuple[str, ...]]:
    """Workload -> entries of engines.

    Raises:
        SparsebenchError: another form.
    """
    if not isinstance(given, Mapping) or not all(
        isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names)
        for names in given.values()
    ):
        raise SparsebenchError(
            f"{where}: 'workload_engines' must be a table of workloads with a list of engines "
            f"each, not {given!r}.",
            'Write, for example, [full] and below it engines = ["torch", "native"].',
        )
    return {workload: tuple(names) for workload, names in given.items()}


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def typed(what: str, value: Any, wanted: Any) -> Any:
    """A value of the kind of another one; lists become tuples.

    Raises:
        SparsebenchError: it is of another kind.
    """
    if isinstance(wanted, tuple):
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise SparsebenchError(f"{what} must be a list, not {value!r}.")
        return tuple(value)
    if isinstance(wanted, bool) != isinstance(value, bool) or not isinstance(
        value, (int, float) if isinstance(wanted, float) else type(wanted)
    ):
        raise SparsebenchError(
            f"{what} must be {_KINDS.get(type(wanted), 'a table')}, not {value!r}."
        )
    return value


def _several(what: str, value: Any, wanted: Any) -> tuple[Any, ...]:
    """One value, or the different ones of a list."""
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise SparsebenchError(f"{what} must be a value or a list of some, not {value!r}.")
    return tuple(dict.fromkeys(typed(what, one, wanted) for one in values))


def _table(name: str, table: Any, where: str) -> dict[str, Any]:
    if name not in WORKLOADS:
        raise UnknownNameError(f"workload ({where})", name, WORKLOADS)
    if not isinstance(table, Mapping):
        raise SparsebenchError(
            f"{where}: '{name}' must be a section, not {table!r}.", f"Write [{name}]."
        )
    return dict(table)


def _set(
    sections: dict[str, Settings], workload: str, table: Mapping[str, Any], where: str
) -> None:
    """Set keys of a section; one that then has only defaults is left out."""
    kind = workload_of(workload).settings
    default = kind()
    known = {f.name for f in fields(kind)}
    values = {}
    for key, value in table.items():
        if key not in known:
            raise UnknownNameError(f"key ({where})", key, sorted({*known, ENGINES}))
        values[key] = typed(f"{where}: '{key}'", value, getattr(default, key))
    made = replace(sections.get(workload, default), **values)
    sections.pop(workload, None)
    if made != default:
        sections[workload] = made
