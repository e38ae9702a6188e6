"""Options of ``sparsebench run`` that were typed and change nothing that the plan measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.sections import places
from sparsebench.bench.plan.settings import HeadSettings, Settings


def idle_options(
    plan: Plan,
    keys: Mapping[str, object],
    stand_for: Mapping[str, Mapping[str, object]],
    sets: Iterable[str],
) -> str:
    """One sentence that names them; "" where every option has an effect.

    Args:
        plan: resolved.
        keys: key of a plan -> its option's value, None where it was not given.
        stand_for: workload -> the same of options that stand for a key of its section.
        sets: what followed each ``--set``: WORKLOAD.KEY=VALUE.
    """
    idle = [key for key, value in keys.items() if value is not None and not _heard(plan, key)]
    for workload, values in stand_for.items():
        if workload not in plan.workloads:
            idle += [key for key, value in values.items() if value is not None]
    options = [f"--{key.replace('_', '-')}" for key in idle]
    named = [one.partition("=")[0].strip() for one in sets]
    options += [f"--set {one}" for one in named if one.rpartition(".")[0] not in plan.workloads]
    if not options:
        return ""
    solvers = {one.solver for one in _sections(plan, "solver") if isinstance(one, HeadSettings)}
    trained = f", heads by {' and '.join(sorted(solvers))}" if "epochs" in idle and solvers else ""
    return (
        f"{', '.join(options)} {'has' if len(options) == 1 else 'have'} no effect here: this run "
        f"measures {', '.join(plan.workloads)}{trained}."
    )


def _heard(plan: Plan, key: str) -> bool:
    """Whether a workload of the plan reads a key."""
    if key == "budget":
        return plan.half_width > 0
    readers = _sections(plan, key)
    if key == "epochs":  # of heads, which another solver takes to their optimum
        readers = [one for one in readers if getattr(one, "solver", "sgd") == "sgd"]
    return bool(readers)


def _sections(plan: Plan, key: str) -> list[Settings]:
    planned = [name for name, _ in places(key) if name in plan.workloads]
    return [plan.section(name, Settings) for name in planned]
