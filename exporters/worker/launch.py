"""From an engine's name to a running worker in the right interpreter."""

from __future__ import annotations

from sparsebench.exporters.engines import BUILTIN
from sparsebench.exporters.engines.base import Availability, Engine
from sparsebench.exporters.worker import environments
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.registry import Registry, load_target

ENGINES = Registry("engine", "sparsebench.engines", BUILTIN)


def engine(name: str) -> Engine:
    """The engine of that name; imports its file, not its library.

    Raises:
        UnknownNameError: no engine has this name.
    """
    found: Engine = load_target(ENGINES.target(name))()
    return found


def start_worker(
    name: str,
    *,
    threads: int,
    first_cpu: int = 0,
    python: str | None = None,
    call_timeout: float = 600.0,
    progress: environments.Progress = lambda line: None,
) -> EngineWorker:
    """A fresh worker for an engine; builds the engine's environment when it needs one.

    Args:
        name: engine name.
        threads: CPU threads.
        first_cpu: place of its first CPU among those that this process may use.
        python: interpreter to use instead of the engine's own environment.
        call_timeout: seconds one call may take before the worker counts as hung.
        progress: receives the lines of an environment being built.

    Raises:
        UnknownNameError: no such engine.
        WorkerFailed: the environment or the process could not be had.
    """
    chosen = engine(name)
    if python is None and chosen.environment is not None:
        try:
            python = str(environments.install(chosen.environment, progress))
        except SparsebenchError as error:
            raise WorkerFailed("engine", str(error)) from error
    return EngineWorker(
        ENGINES.target(name),
        threads=threads,
        first_cpu=first_cpu,
        interpreter=python,
        call_timeout=call_timeout,
    )


def probe(name: str, *, build: bool = False, python: str | None = None) -> Availability:
    """Whether an engine runs here, asked inside its own interpreter.

    Args:
        name: engine name.
        build: build a missing environment; otherwise a missing one is the answer.
        python: interpreter to use instead of the engine's own.
    """
    chosen = engine(name)
    if chosen.environment is not None and python is None:
        if reason := environments.unsupported(chosen.environment):
            return Availability(False, f"Not on this machine: {reason}.")
        if environments.interpreter(chosen.environment) is None and not build:
            return Availability(
                False,
                "Its environment is not built yet; the first plan that needs it does that.",
                fix=f"sparsebench engines install {name}",
            )
    try:
        with start_worker(name, threads=1, python=python) as worker:
            return worker.available()
    except WorkerFailed as failure:
        return Availability(False, failure.reason, fix="sparsebench doctor")
