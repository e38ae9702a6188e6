"""Commands as they are typed here: in the tool that made this environment and started this."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install_command(*requirements: str) -> str:
    """``uv pip install NAME`` in an environment of uv, ``uv tool …`` in a tool's, else ``pip``."""
    try:
        made_by = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        made_by = ""
    checkout, editable = _checkout()
    # Quoted where a shell would take an extra's brackets for a pattern.
    found = [shlex.quote(_findable(requirement, checkout)) for requirement in requirements]
    receipt = Path(sys.prefix) / "uv-receipt.toml"
    if receipt.is_file():
        # uv makes a tool's environment of what its last command named, and of nothing else.
        beside = dict.fromkeys([*map(shlex.quote, _held(receipt, checkout)), *found])
        suite = shlex.quote(_findable("sparsebench", checkout))
        return " --with ".join([f"uv tool install {suite}", *beside])
    ours = [editable and requirement.startswith("sparsebench[") for requirement in requirements]
    wanted = " ".join(f"-e {name}" if e else name for name, e in zip(found, ours, strict=True))
    if any(line.startswith("uv =") for line in made_by.splitlines()):
        return f"uv pip install {wanted}"
    return f"pip install {wanted}"


def _held(receipt: Path, checkout: str) -> list[str]:
    """What a tool's environment has beside the suite itself, as a command line names it."""
    held = []
    for one in tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"].get("requirements", []):
        if extras := ",".join(one.get("extras", [])):
            extras = f"[{extras}]"
        if one["name"] != "sparsebench" or extras:
            place = one.get("directory") or one.get("path")
            name = place or _findable(one["name"], checkout)
            held.append(f"{name}{extras}{'' if place else one.get('specifier', '')}")
    return held


def _checkout() -> tuple[str, bool]:
    """The folder that the suite was installed from, and whether it is used in place (PEP 610)."""
    try:
        told = json.loads(distribution("sparsebench").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return "", False
    if "dir_info" not in told:
        return "", False
    return url2pathname(urlsplit(told["url"]).path), bool(told["dir_info"].get("editable"))


def _findable(requirement: str, checkout: str) -> str:
    """The suite's own packages by their folder: an index need not have what a checkout has."""
    if not checkout:
        return requirement
    if requirement == "sparsebench-zoo":
        return f"{checkout}/models/zoo"
    return re.sub(r"^sparsebench(?=\[|$)", lambda name: checkout, requirement)


def typed_here(text: str) -> str:
    """Text whose commands of the suite are ``uv run sparsebench …`` where ``uv run`` started it.

    A command is what stands at the beginning or behind a backtick.
    """
    if "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return text
    return re.sub(r"(?m)(^\s*|`)sparsebench (?=[a-z])", r"\1uv run sparsebench ", text)
