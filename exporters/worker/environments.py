"""Separate Python environments for engines whose packages hold everything else back.

DeepSparse 1.8.0 needs Python < 3.12 and numpy < 2. The suite builds such an environment
once, with uv, under the user's cache folder. ``SPARSEBENCH_PYTHON_<ENVIRONMENT>`` names an
interpreter to use instead.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import SparsebenchError, UnknownNameError

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Environment:
    """What an environment needs.

    Attributes:
        name: as the command line and its folder call it.
        python: uv's request for an interpreter.
        requirements: what is installed into it.
        engines: engines that live in it.
        machines: ``platform.machine()`` values its wheels exist for.
    """

    name: str
    python: str
    requirements: tuple[str, ...]
    engines: tuple[str, ...]
    machines: tuple[str, ...]


ENVIRONMENTS = {
    "neuralmagic": Environment(
        name="neuralmagic",
        python=">=3.9,<3.12",
        # DeepSparse ended in June 2025 and holds every other package back.
        requirements=(
            "deepsparse==1.8.0; python_version < '3.12'",
            "numpy<2; python_version < '3.12'",
            "setuptools<81; python_version < '3.12'",
        ),
        engines=("deepsparse",),
        machines=("x86_64", "aarch64"),
    ),
}
_READY = ".ready"


def environment(name: str) -> Environment:
    """The environment of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in ENVIRONMENTS:
        raise UnknownNameError("environment", name, ENVIRONMENTS)
    return ENVIRONMENTS[name]


def interpreter(name: str) -> Path | None:
    """Path of the environment's Python when it is ready (or overridden), else None."""
    if override := os.environ.get(f"SPARSEBENCH_PYTHON_{name.upper()}"):
        return Path(override)
    python = _python(_folder(environment(name)))
    return python if (python.parent.parent / _READY).exists() else None


def unsupported(name: str) -> str:
    """Why the environment cannot exist on this machine, or an empty string."""
    needed = environment(name)
    if sys.platform != "linux":
        return f"its packages exist for Linux only, not for {sys.platform}"
    if platform.machine() not in needed.machines:
        return f"its packages exist for {', '.join(needed.machines)}, not {platform.machine()}"
    return ""


def install(name: str, progress: Progress = lambda line: None) -> Path:
    """Build the environment if it is not there; returns its Python.

    Two processes that ask at once build it once: the second waits for the first.

    Raises:
        SparsebenchError: not possible on this platform, no uv, or uv failed.
    """
    needed = environment(name)
    if reason := unsupported(name):
        raise SparsebenchError(f"The environment '{name}' cannot be built: {reason}.")
    found = interpreter(name)
    if found is not None:
        return found

    def fill(python: Path) -> None:
        command = [_uv(), "pip", "install", "--python", str(python), *needed.requirements]
        _call(command, progress)

    what = f"the environment '{name}' for {', '.join(needed.engines)}"
    return _build(_folder(needed), needed.python, what, fill, progress)


def install_version(
    engine: str, version: str, name: str | None, progress: Progress = lambda line: None
) -> Path:
    """An environment with one version of an engine's package and numpy; returns its Python.

    Args:
        engine: name of the engine, which is that of its package on the index.
        version: as the index knows it.
        name: the environment that the engine usually lives in, None for the suite's own; only
            its interpreter and its other requirements are taken over.
        progress: receives the lines of an environment being built.

    Raises:
        SparsebenchError: uv failed, e.g. because there is no such version.
    """
    usual = None if name is None else environment(name)
    others = [] if usual is None else [r for r in usual.requirements if not _is(r, engine)]
    wanted = [f"{engine}=={version}", *(others or ["numpy"])]
    request = sys.executable if usual is None else usual.python
    digest = hashlib.sha256("\n".join([request, *wanted]).encode()).hexdigest()[:12]
    folder = cache_dir("environments") / f"version-{engine}-{digest}"

    def install_wanted(python: Path) -> None:
        _call([_uv(), "pip", "install", "--python", str(python), *wanted], progress)

    return _build(folder, request, f"{engine}=={version}", install_wanted, progress)


def _is(requirement: str, package: str) -> bool:
    return re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0].lower() == package.lower()


def _build(
    folder: Path, request: str, what: str, fill: Callable[[Path], None], progress: Progress
) -> Path:
    """A folder's Python, built and filled where it is not ready; one process builds at a time."""
    python = _python(folder)
    with FileLock(folder.with_suffix(".lock")):
        if (folder / _READY).exists():
            return python
        start = time.monotonic()
        progress(f"Building {what} in {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        _call([_uv(), "venv", "--quiet", "--python", request, str(folder)], progress)
        fill(python)
        (folder / _READY).write_text("built by sparsebench\n")
        progress(f"Built in {time.monotonic() - start:.0f} s")
        return python


def remove(name: str) -> bool:
    """Delete every built version of the environment; False when there was none."""
    environment(name)
    folders = list(cache_dir("environments").glob(f"{name}-*"))
    for folder in folders:
        if folder.is_dir():
            shutil.rmtree(folder)
        else:
            folder.unlink()
    return any(not folder.name.endswith(".lock") for folder in folders)


def _folder(needed: Environment) -> Path:
    """Named after its content, so that changed pins make another environment."""
    text = "\n".join([needed.python, *needed.requirements])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return cache_dir("environments") / f"{needed.name}-{digest}"


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _uv() -> str:
    """The uv binary: the one this package depends on, or one on the PATH."""
    try:
        import uv

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise SparsebenchError("uv was not found.", "Install it: pip install uv")
    return found


def _call(command: list[str], progress: Progress) -> None:
    """Run uv and pass its lines on."""
    # A project's own settings (VIRTUAL_ENV of `uv run`) must not steer this environment.
    environ = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        progress(line.strip())
    if process.wait() != 0:
        said = " | ".join(lines[-4:])
        raise SparsebenchError(
            f"uv could not build the environment (exit code {process.returncode}): {said}",
            "Is the package index reachable? Python 3.9 to 3.11 is needed: "
            "`uv python install 3.11` fetches one.",
        )
