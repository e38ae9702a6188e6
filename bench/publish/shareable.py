"""A run as others may see it: files and folders by their names, without where they lie here."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sparsebench.bench.plan.rerun_command import PLAN, read_plan
from sparsebench.bench.present.summaries import SUMMARY_MARKDOWN, write_page, write_summaries
from sparsebench.bench.records import RunFolder
from sparsebench.bench.records.checksum import sealed
from sparsebench.bench.records.jsonl import read_lines
from sparsebench.models.cache import cache_dir

REPORT = "report.html"
LINES = ("trials.jsonl", "records.jsonl", "comparisons.jsonl", "blocks.jsonl")
# Where people's files lie (Filesystem Hierarchy Standard, and what clusters and macOS add). Not
# every word that begins with a slash is a path: an ONNX graph's nodes are called /layer1/Conv.
_PLACES = "home root Users tmp var opt srv mnt media run usr private scratch data workspace Volumes"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@contextmanager
def shareable(folder: RunFolder) -> Iterator[RunFolder]:
    """A copy of a run in which every path keeps only its last name; the run stays as it is.

    Where two files of the plan are called alike, as many parents as tell them apart stay too.
    Tables, figures and the report are made again from the copy.
    """
    with tempfile.TemporaryDirectory() as made:
        copy = Path(made) / folder.name
        shutil.copytree(folder.path, copy, ignore=shutil.ignore_patterns("log.txt", ".*"))
        run = RunFolder.reading(copy)
        _hide(copy, _last_names(_paths(read_plan(copy))))
        if (copy / REPORT).is_file():  # a finished run; its report also names the run's folder
            write_summaries(run)
            write_page(run)
            for name in (REPORT, SUMMARY_MARKDOWN):
                page = copy / name
                page.write_text(page.read_text("utf-8").replace(f"{made}/", ""), "utf-8")
        yield run


def _hide(folder: Path, names: dict[str, str]) -> None:
    """Rewrite what differs of the lines and the plan of a run's copy."""
    for file in (folder / name for name in LINES):
        lines = [line.data for line in read_lines(file)]
        shown = [_shown(line, names) for line in lines]
        if shown != lines:
            file.write_bytes(b"".join(map(sealed, shown)))
    plan = folder / PLAN
    if plan.is_file():
        text = plan.read_text("utf-8")
        plan.write_text(_QUOTED.sub(lambda one: f'"{_shown(one[1], names)}"', text), "utf-8")


def _paths(value: Any) -> Iterator[str]:
    """The paths outside of the working directory that a plan names; those of files behind "@"."""
    if isinstance(value, dict):
        for item in (*value, *value.values()):
            yield from _paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, str) and "\n" not in value:
        path = value[value.find("@") + 1 :] if re.search(r"@(/|~|\.\.)", value) else value
        if path.startswith(("/", "~", "..")):
            yield path


def _last_names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> its last name, with the parents that tell it apart; the longest paths first."""
    parts = {path: Path(path).parts for path in paths}
    names = {}
    for path, mine in parts.items():
        others = [other for other in parts.values() if other != mine]
        depth = 1
        while depth < len(mine) - 1 and any(o[-depth:] == mine[-depth:] for o in others):
            depth += 1
        names[path] = "/".join(mine[-depth:]).lstrip("/") or path
    return dict(sorted(names.items(), key=lambda pair: -len(pair[0])))


def _shown(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {_shown(key, names): _shown(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item, names) for item in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    for path, name in names.items():
        value = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", name.replace("\\", r"\\"), value)
    return _other_paths().sub(lambda found: found[0].rpartition("/")[2], value)


@cache
def _other_paths() -> re.Pattern[str]:
    """Paths in a sentence, such as the reason of a failed cell: up to a space, quote or bracket."""
    here = (
        Path.home(),
        Path.cwd(),
        Path(sys.prefix),
        Path(__file__).resolve().parents[3],
        cache_dir(),
    )
    places = [f"/{name}" for name in _PLACES.split()]
    places += [str(place) for place in here if len(place.parts) > 1]
    roots = "|".join(re.escape(place) for place in ("~", *places))
    return re.compile(rf"""(?<![\w./-])(?:{roots})(?:/[^\s/'"`:;,<>|()\[\]]+)+""")
