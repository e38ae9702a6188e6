"""Versioned JSON Schemas of the run's files: validation, and reading of older versions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from sparsebench.models.errors import SparsebenchError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Kind = Literal["trial", "record", "comparison", "baseline"]

CURRENT: dict[str, int] = {"trial": 1, "record": 1, "comparison": 1, "baseline": 1}
UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""(kind, version) -> function that turns a line of that version into the next one."""


def validate(kind: Kind, line: Mapping[str, Any], where: str) -> None:
    """Check one line against the schema of its own version.

    Args:
        kind: which schema.
        line: the JSON object.
        where: for the message, such as "records.jsonl, line 3".

    Raises:
        SparsebenchError: not of this kind, of a newer version, or against the schema.
    """
    version = version_of(kind, line, where)
    error = next(iter(_validator(kind, version).iter_errors(line)), None)
    if error is not None:
        place = "/".join(str(step) for step in error.absolute_path) or "the object"
        message = error.message if len(error.message) < 200 else error.message[:200] + " ..."
        raise SparsebenchError(
            f"{where} is not a valid {kind}: {place}: {message}.",
            f"results/schema/{kind}.v{version}.json describes the format.",
        )


def upgraded(
    kind: Kind, line: dict[str, Any], where: str, *, proven: bool = False
) -> dict[str, Any]:
    """A line of any known version, valid, as one of the current version.

    Args:
        kind: which schema.
        line: the JSON object.
        where: for the message.
        proven: its checksum fits, so it is as it was when it was validated and written.
    """
    if not proven:
        validate(kind, line, where)
    for version in range(version_of(kind, line, where), CURRENT[kind]):
        line = UPGRADES[kind, version](line)
    return line


def version_of(kind: Kind, line: Mapping[str, Any], where: str) -> int:
    """The schema version that a line states.

    Raises:
        SparsebenchError: it states none, another kind, or a newer version than this one reads.
    """
    stated = line.get("schema")
    match = re.fullmatch(rf"{kind}\.v([1-9]\d*)", stated) if isinstance(stated, str) else None
    if match is None:
        raise SparsebenchError(
            f"{where} is not a valid {kind}: its 'schema' is {stated!r} instead of '{kind}.v"
            f"{CURRENT[kind]}'.",
            "`sparsebench baseline update RUN --out FILE --reason …` writes one."
            if kind == "baseline"
            else "Point to a folder that `sparsebench run` has written.",
        )
    version = int(match[1])
    if version > CURRENT[kind]:
        raise SparsebenchError(
            f"{where} was written by a newer sparsebench: {stated}, while this one reads up to "
            f"{kind}.v{CURRENT[kind]}.",
            "Update sparsebench.",
        )
    return version


@cache
def load_schema(kind: Kind, version: int) -> dict[str, Any]:
    """The schema itself, from results/schema/."""
    text = (files("sparsebench.results") / "schema" / f"{kind}.v{version}.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@cache
def _validator(kind: Kind, version: int) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(load_schema(kind, version))
