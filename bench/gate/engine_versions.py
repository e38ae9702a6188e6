"""``sparsebench check --base-engine E==1 --head-engine E==2``: two versions of one engine.

Either version gets an environment of its own, and the same plan runs with the one and the other
as the engine's interpreter, in turns; everything else is this checkout on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sparsebench.bench.gate.sides import Side
from sparsebench.bench.plan.plan import EngineSettings, load_plan, plan_to_toml
from sparsebench.exporters.worker.environments import install_version
from sparsebench.exporters.worker.launch import ENGINES, engine
from sparsebench.models.errors import SparsebenchError

_WANTED = "Write an engine and a version, like onnxruntime==1.20.0."
_PINNED = re.compile(r"(?P<engine>[A-Za-z0-9_-]+)==(?P<version>[A-Za-z0-9.+!_*-]+)")


def engine_sides(
    base: str, head: str, plan: str, out: Path, say: Callable[[str], None]
) -> list[Side]:
    """Build both environments, and a plan for either.

    Args:
        base: ``ENGINE==VERSION``, like ``head``.
        head: of the same engine.
        plan: preset or TOML file; its other engines are left out.
        out: folder for the two plans.
        say: told what is being done.

    Raises:
        UnknownNameError: no engine has this name.
        SparsebenchError: not two versions of one engine, one that runs inside the suite's own
            environment only, or a version that cannot be installed.
    """
    (name, before), (other, after) = _parse(base), _parse(head)
    if name != other:
        raise SparsebenchError(f"'{base}' and '{head}' are two engines, not two versions of one.")
    ENGINES.target(name)
    if engine(name).reads != "onnx" or name == "native":
        raise SparsebenchError(
            f"The engine '{name}' needs the suite's own environment: its versions cannot stand "
            "side by side.",
            "Compare two checkouts with --base and --head instead.",
        )
    chosen = load_plan(plan)
    old = chosen.engine_settings.get(name, EngineSettings())
    suite = Path(__file__).resolve().parents[2]
    sides = []
    for role, version in (("base", before), ("head", after)):
        python = install_version(name, version, engine(name).environment, say)
        settings = {name: replace(old, python=str(python))}
        path = out / f"{role}.toml"
        mine = replace(chosen, engines=(name,), engine_settings=settings)
        path.write_text(plan_to_toml(mine), encoding="utf-8")
        sides.append(Side(f"{name}=={version}", "this checkout", suite, str(path)))
    return sides


def _parse(text: str) -> tuple[str, str]:
    match = _PINNED.fullmatch(text.strip())
    if match is None:
        raise SparsebenchError(f"'{text}' names no version of an engine.", _WANTED)
    return match["engine"], match["version"]
