"""``sparsebench doctor`` and ``sparsebench engines``: what works here, and how to fix the rest."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sparsebench.bench.cli.options import Json
from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import typed_here

EPILOG = """Examples:

  sparsebench doctor

  sparsebench doctor --json
"""

RACES = ("quick", "standard")
"""Presets whose optional entries are said where this processor cannot run them."""

engines_app = typer.Typer(
    help="The separate environments that some engines need.", no_args_is_help=True
)


def doctor(
    machine_only: Annotated[
        bool, typer.Option("--machine", help="Only the machine, without asking the engines.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show which engines work on this machine, and how to fix the rest."""
    from sparsebench.bench.cli.console import new_console
    from sparsebench.bench.gate.noise import stored_noise
    from sparsebench.bench.machine.facts import machine_facts
    from sparsebench.bench.machine.hardware import clock_facts, gpu_facts
    from sparsebench.bench.plan.optional_engines import left_out
    from sparsebench.bench.plan.plan import load_plan
    from sparsebench.exporters.worker.launch import ENGINES, engine, probe
    from sparsebench.models.cache import cache_dir

    machine = {**machine_facts(), "clock": clock_facts(), "gpu_state": gpu_facts()}
    found = {}
    with new_console(stderr=True).status("") as status:
        for name in () if machine_only else ENGINES:
            status.update(f"asking {name} …")
            found[name] = probe(name)
    if as_json:
        engines = {name: item.to_json() for name, item in found.items()}
        echo_json({"machine": machine, "engines": engines})
        return
    from rich.text import Text

    console = new_console()
    console.print(Text("Machine", style="bold"))
    for key, value in machine.items():
        if isinstance(value, str | int | float):
            console.print(f"  {key}: {value}")
    console.print(f"  instructions: {', '.join(machine['isa'] or ()) or 'unknown'}")
    for key, value in machine["clock"].items():
        if value is not None:
            console.print(f"  clock {key}: {value}")
    console.print(f"  cache: {cache_dir()}")
    floor = stored_noise(machine["fingerprint"])
    if floor is None:
        console.print(typed_here("  noise: not measured (`sparsebench noise`)"))
    else:
        console.print(f"  noise: {floor.log_sd:.1%} a block, {floor.engine}, {floor.created[:10]}")
    missing = [text for plan in RACES for text in left_out(load_plan(plan))]
    for text in dict.fromkeys(missing):
        console.print(f"  {text}", soft_wrap=True)
    if machine_only:
        return
    console.print(Text("\nEngines", style="bold"))
    for name, item in found.items():
        home = f" (environment {engine(name).environment})" if engine(name).environment else ""
        if item.ok:
            yes = Text.assemble("  ", ("yes", "green"), f"  {name} {item.version}{home}")
            console.print(yes)
            console.print(f"       licence: {item.licence}; support: {item.support}")
        else:
            console.print(Text.assemble("  ", ("no", "red"), f"   {name}{home}: {item.reason}"))
            if item.fix:
                console.print(f"       fix: {typed_here(item.fix)}")


@engines_app.command("list")
def list_environments(as_json: Json = False) -> None:
    """Which engines live in an environment of their own, and whether it is built."""
    from sparsebench.exporters.worker import environments

    rows: list[dict[str, Any]] = []
    for name, needed in environments.ENVIRONMENTS.items():
        python = environments.interpreter(name)
        rows.append(
            {
                "environment": name,
                "engines": list(needed.engines),
                "python": str(python) if python else None,
                "packages": list(needed.requirements),
            }
        )
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        state = row["python"] or "not built"
        echo(f"{row['environment']}  ({', '.join(row['engines'])}): {state}")


@engines_app.command("install")
def install(
    name: Annotated[str, typer.Argument(help="An engine or an environment, e.g. deepsparse.")],
) -> None:
    """Build an engine's environment now instead of when a plan first needs it."""
    from sparsebench.exporters.worker import environments

    python = environments.install(_environment_of(name), progress=echo)
    echo(f"Ready: {python}")


@engines_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="An engine or an environment, e.g. deepsparse.")],
) -> None:
    """Delete an engine's environment."""
    from sparsebench.exporters.worker import environments

    found = environments.remove(_environment_of(name))
    echo("Removed." if found else "It was not built.")


def _environment_of(name: str) -> str:
    from sparsebench.exporters.worker.environments import ENVIRONMENTS
    from sparsebench.exporters.worker.launch import engine

    if name in ENVIRONMENTS:
        return name
    home = engine(name).environment
    if home is None:
        raise SparsebenchError(
            f"The engine '{name}' lives in the suite's own environment.",
            "`sparsebench doctor` says whether it works.",
        )
    return home
